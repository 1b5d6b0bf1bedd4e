#!/usr/bin/env bash
# Unpacks the newer QEMU of Debian's backports beside the installed one, for the engine's tests.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: qemu-backports.sh DIR

Downloads qemu-system-x86, -common and -data from the suite <this release>-backports of the mirror that apt uses here, and
unpacks them into DIR. Nothing is installed, and apt's own lists and sources stay as they are. The program is then
DIR/usr/bin/qemu-system-x86_64. Does nothing if DIR is there.
TXT
}

[ $# -eq 1 ] && [[ $1 != -* ]] || { usage; [[ ${1:-} == -h || ${1:-} == --help ]]; exit; }
out=$(realpath -m "$1")
[ ! -e "$out/usr/bin/qemu-system-x86_64" ] || exit 0

suite=$(. /etc/os-release && echo "$VERSION_CODENAME")-backports
rm -rf "$out"
exec "$(dirname "$0")/unpack-packages.sh" "$out" "$suite" qemu-system-x86 qemu-system-common qemu-system-data
