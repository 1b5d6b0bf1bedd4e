#!/usr/bin/env bash
# Unpacks Debian packages of another suite beside the installed ones, for tests.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: unpack-packages.sh DIR SUITE PACKAGE...

Downloads the packages of SUITE from the mirror that apt uses here, and unpacks them into DIR, which must not be there. Nothing is
installed, and apt's own lists and sources stay as they are. @PACKAGE is what PACKAGE of that suite depends on first: the newest
kernel, for a name that stands for it.
TXT
}

[ $# -ge 3 ] && [[ $1 != -* ]] || { usage; [[ ${1:-} == -h || ${1:-} == --help ]]; exit; }
out=$(realpath -m "$1") suite=$2
shift 2

mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" | head -n 1)
[ -n "$mirror" ] || { echo "unpack-packages.sh: apt has no mirror" >&2; exit 1; }
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$(dirname "$out")/unpack-packages.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
touch "$work/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$work/sources"
# A state and a cache of its own: apt's are the host's, whose packages are of another suite. Packages are fetched by the user who asks.
options=(-q -o "Dir::Etc::SourceList=$work/sources" -o Dir::Etc::SourceParts=/dev/null -o "Dir::State::Lists=$work/lists"
    -o "Dir::State::Status=$work/status" -o "Dir::Cache=$work" -o APT::Sandbox::User=)
fetch() {
    apt-get "${options[@]}" update
    cd "$work/root"
    local package packages=()
    for package in "$@"; do
        # Of this suite: the host's apt may know a newer one, of a suite that is not asked here.
        [[ $package != @* ]] || package=$(apt-cache "${options[@]}" depends "${package#@}" | sed -n 's/.*Depends: //p' | head -n 1)
        packages+=("$package")
    done
    apt-get "${options[@]}" download "${packages[@]}"
}
(fetch "$@") >"$work/log" 2>&1 || {
    tail -n 20 "$work/log" >&2
    echo "unpack-packages.sh: cannot fetch $* from $suite" >&2
    exit 1
}
for package in "$work/root"/*.deb; do
    dpkg-deb -x "$package" "$work/root"
    rm "$package"
done
# A user made for a test reads it, too.
chmod -R a+rX "$work/root"
mv "$work/root" "$out"
