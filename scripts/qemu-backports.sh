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
mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" | head -n 1)
[ -n "$mirror" ] || { echo "qemu-backports.sh: apt has no mirror" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/qemu-backports.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources"
# A state and a cache of its own: apt's are the host's. Packages are fetched by the user who asks.
options=(-q -o "Dir::Etc::SourceList=$work/sources" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists"
    -o "Dir::Cache=$work" -o APT::Sandbox::User=)
fetch() {
    apt-get "${options[@]}" update
    cd "$work/root"
    apt-get "${options[@]}" download qemu-system-x86 qemu-system-common qemu-system-data
}
(fetch) >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    echo "qemu-backports.sh: cannot fetch QEMU from $suite" >&2
    exit 1
}
for package in "$work/root"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
    rm "$package"
done
rm -rf "$out"
mv "$work/root" "$out"
