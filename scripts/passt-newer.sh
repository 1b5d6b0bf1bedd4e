#!/usr/bin/env bash
# Unpacks a newer passt beside the installed one, for the tests of networks without root.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: passt-newer.sh DIR

Downloads passt, and the C library that it was built for, from the suite trixie of the mirror that apt uses here, and unpacks
them into DIR. Nothing is installed, and apt's own lists and sources stay as they are. The programs are then DIR/bin/pasta and
DIR/bin/passt. Does nothing if DIR is there.
TXT
}

[ $# -eq 1 ] && [[ $1 != -* ]] || { usage; [[ ${1:-} == -h || ${1:-} == --help ]]; exit; }
out=$(realpath -m "$1")
[ ! -e "$out/bin/pasta" ] || exit 0

rm -rf "$out"
"$(dirname "$0")/unpack-packages.sh" "$out" trixie passt libc6
mv "$out/usr/lib/x86_64-linux-gnu" "$out/lib"
# They need the symbols of that library, and look at the name that they were called by. What is looked for above comes last.
mkdir -p "$out/bin"
for name in passt pasta; do
    cat >"$out/bin/$name.new" <<TXT
#!/bin/sh
exec $out/lib/ld-linux-x86-64.so.2 --library-path $out/lib --argv0 $name $out/usr/bin/$name "\$@"
TXT
    chmod 0755 "$out/bin/$name.new"
    mv "$out/bin/$name.new" "$out/bin/$name"
done
