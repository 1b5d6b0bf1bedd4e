#!/bin/sh
# Installs what lies beside this script, or takes it away again.
set -eu

usage() {
    cat <<'TXT'
usage: install.sh [--prefix DIRECTORY] [--uninstall]

Copies the programs, kernel, manual pages, completion and systemd units to DIRECTORY (/usr/local). With
--uninstall it removes them; what was stored in home directories stays. A file in DIRECTORY/etc that was changed
stays in both cases; the new one is put beside it, with .new behind its name.
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

# Whether root's unit $1 of this prefix is enabled or linked.
enabled() {
    for link in "/etc/systemd/system/$1" "/etc/systemd/system/"*"/$1"; do
        [ -L "$link" ] || continue
        [ "$(readlink -f "$link")" != "$(readlink -f "$prefix/lib/systemd/system/$1")" ] || return 0
    done
    return 1
}

if [ -n "$remove" ]; then
    # Another installation's units, of the same names, are not for this one.
    if command -v systemctl >/dev/null && { enabled container.socket || enabled container.service; }; then
        [ ! -d /run/systemd/system ] || systemctl stop container.socket || true
        systemctl disable container.socket container.service || true
    fi
    find . ! -type d | while IFS= read -r file; do
        case $file in
            ./etc/*)
                rm -f "$prefix/$file.new"
                if { [ -e "$prefix/$file" ] || [ -L "$prefix/$file" ]; } && ! cmp -s "$file" "$prefix/$file"; then
                    echo "install.sh: $prefix/${file#./} was changed, and stays" >&2
                    continue
                fi
                ;;
        esac
        rm -f "$prefix/$file"
    done
    # Only what is empty then: others have files in these directories, too.
    find . -mindepth 1 -type d | sort -r | while IFS= read -r directory; do
        rmdir "$prefix/$directory" 2>/dev/null || true
    done
    exit 0
fi

# The units name the prefix, where these would mean something to systemd or to sed.
newline='
'
case $prefix in
    *['|&%$"\\']* | *"$newline"*)
        printf '%s\n' 'install.sh: the prefix must be without | & % $ " \ and line ends' >&2
        exit 64
        ;;
esac

find . -type d | while IFS= read -r directory; do mkdir -p "$prefix/$directory"; done
find . ! -type d | while IFS= read -r file; do
    # By a rename: a program that runs is replaced, not written to.
    cp -P "$file" "$prefix/$file.new"
    case $file in
        ./lib/systemd/*) sed "s|@PREFIX@|$prefix|" "$file" >"$prefix/$file.new" ;;
        ./etc/*)
            if { [ -e "$prefix/$file" ] || [ -L "$prefix/$file" ]; } && ! cmp -s "$file" "$prefix/$file"; then
                echo "install.sh: $prefix/${file#./} stays; the new one is $prefix/${file#./}.new" >&2
                continue
            fi
            ;;
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
[ -e /etc/protocols ] || echo "install.sh: /etc/protocols is missing; install the package that has it, such as netbase" >&2
echo "installed in $prefix; begin with: container system start"
