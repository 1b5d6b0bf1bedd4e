#!/bin/sh
# Installs what lies beside this script, or takes it away again.
set -eu

usage() {
    cat <<'TXT'
usage: install.sh [--prefix DIRECTORY] [--uninstall]

Copies the programs, kernel, manual pages, completion and systemd units to DIRECTORY (/usr/local). With
--uninstall it removes them; what was stored in home directories stays.
TXT
}

prefix=/usr/local
remove=
while [ $# -gt 0 ]; do
    case $1 in
        --prefix) [ $# -ge 2 ] || { usage >&2; exit 64; }; prefix=$2; shift ;;
        --uninstall) remove=1 ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 64 ;;
    esac
    shift
done
case $prefix in /*) ;; *) echo "install.sh: the prefix must be an absolute path: $prefix" >&2; exit 64 ;; esac
here=$(cd "$(dirname "$0")" && pwd)
cd "$here/prefix"

if [ -n "$remove" ]; then
    find . ! -type d | while IFS= read -r file; do rm -f "$prefix/$file"; done
    # Only what is empty then: others have files in these directories, too.
    find . -mindepth 1 -type d | sort -r | while IFS= read -r directory; do
        rmdir "$prefix/$directory" 2>/dev/null || true
    done
    exit 0
fi

find . -type d | while IFS= read -r directory; do mkdir -p "$prefix/$directory"; done
find . ! -type d | while IFS= read -r file; do
    # By a rename: a program that runs is replaced, not written to.
    cp -P "$file" "$prefix/$file.new"
    case $file in
        ./lib/systemd/*) sed "s|@PREFIX@|$prefix|" "$file" >"$prefix/$file.new" ;;
    esac
    mv -f "$prefix/$file.new" "$prefix/$file"
done

for tool in qemu-system-x86_64 mke2fs nft pasta; do
    found=
    for directory in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
        [ ! -x "$directory/$tool" ] || found=1
    done
    [ -n "$found" ] || echo "install.sh: $tool is missing; install the package that has it" >&2
done
echo "installed in $prefix; begin with: container system start"
