#!/bin/sh
# Makes the guest's initramfs: vminitd as /init and the empty directories that it mounts on.
#
#   initramfs.sh <vminitd> <out>
#
# A plain cpio archive (newc): the kernel unpacks it faster than it could decompress it. The same input gives
# the same bytes. The kernel brings /dev/console itself, and PID 1 may run before there is a console: then it needs
# /dev/null, which stands here as bytes, as only root can make a device node.
set -eu

vminitd=$1
out=$2

tree=$(mktemp -d)
new=$out.new.$$
trap 'rm -rf "$tree" "$new"' EXIT

mkdir -p "$tree/dev" "$tree/proc" "$tree/sys" "$tree/run/image" "$tree/run/upper"
install -m 0755 "$vminitd" "$tree/init"
find "$tree" -type d -exec chmod 0755 {} +
find "$tree" -exec touch -h -d @0 {} +

# A header of cpio(5), "newc": a character device 1:3 with mode 0666; the name ends at a multiple of four.
null() {
    printf '070701'
    printf '%08X' 0 0020666 0 0 1 0 0 0 0 1 3 9 0
    printf 'dev/null\0\0'
}

{
    null
    (cd "$tree" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort |
        cpio --quiet --create --format=newc --owner=+0:+0 --reproducible)
} >"$new"
mv -f "$new" "$out"
