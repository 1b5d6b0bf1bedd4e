#!/bin/sh
# Makes the guest's initramfs: vminitd as /init and the empty directories that it mounts on.
#
#   initramfs.sh <vminitd> <out>
#
# A plain cpio archive (newc): the kernel unpacks it faster than it could decompress it. The same input gives
# the same bytes. No device nodes, so no root is needed: the kernel brings /dev/console itself.
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

(cd "$tree" && find . -mindepth 1 -printf '%P\n' | LC_ALL=C sort |
    cpio --quiet --create --format=newc --owner=+0:+0 --reproducible) >"$new"
mv -f "$new" "$out"
