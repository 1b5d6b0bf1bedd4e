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

suite=trixie
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" | head -n 1)
[ -n "$mirror" ] || { echo "passt-newer.sh: apt has no mirror" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/passt-newer.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root/bin"
touch "$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources"
# A state and a cache of its own: apt's are the host's, whose packages are of another suite.
options=(-q -o "Dir::Etc::SourceList=$work/sources" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists"
    -o "Dir::State::Status=$work/status" -o "Dir::Cache=$work" -o APT::Sandbox::User=)
fetch() {
    apt-get "${options[@]}" update
    cd "$work/root"
    apt-get "${options[@]}" download passt libc6
}
(fetch) >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    echo "passt-newer.sh: cannot fetch passt from $suite" >&2
    exit 1
}
for package in "$work/root"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
    rm "$package"
done
# They need the symbols of that library, and look at the name that they were called by.
for name in pasta passt; do
    cat >"$work/root/bin/$name" <<TXT
#!/bin/sh
exec $out/lib/ld-linux-x86-64.so.2 --library-path $out/lib --argv0 $name $out/usr/bin/$name "\$@"
TXT
    chmod 0755 "$work/root/bin/$name"
done
mv "$work/root/usr/lib/x86_64-linux-gnu" "$work/root/lib"
rm -rf "$out"
# A user made for a test reads it, too.
chmod -R a+rX "$work/root"
mv "$work/root" "$out"
