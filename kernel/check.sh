#!/usr/bin/env bash
# Boots a kernel under QEMU (TCG, so that it runs everywhere) with check/ as PID 1; says what is missing from it.
# Then compares its configuration with what docker asks for.
set -euo pipefail

usage() {
  cat <<USAGE
Usage: kernel/check.sh [--flavour full] [VMLINUX]

VMLINUX is target/kernel/vmlinux by default, with a flavour target/kernel-full/vmlinux; its
configuration is the file "config" beside it.
USAGE
}

flavour=''
if [[ ${1:-} == --flavour && ${2:-} == full ]]; then
  flavour=$2
  shift 2
fi
[[ ${1:-} != -* && $# -le 1 ]] || {
  usage
  [[ $1 == -h || $1 == --help ]]
  exit
}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernel=$(realpath "${1:-$here/../target/kernel${flavour:+-$flavour}/vmlinux}")
packages=(qemu-system-x86 erofs-utils e2fsprogs gcc libc6-dev squashfs-tools dosfstools mtools genisoimage
  ${flavour:+xfsprogs btrfs-progs})
for tool in qemu-system-x86_64 mkfs.erofs mke2fs gcc mksquashfs mkfs.vfat mcopy genisoimage ${flavour:+mkfs.xfs mkfs.btrfs}; do
  command -v "$tool" >/dev/null || {
    echo "kernel check: $tool is missing; run: sudo apt-get install ${packages[*]}" >&2
    exit 1
  }
done

dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"

# One record of an initramfs in "newc" format: record NAME MODE [FILE]
record() {
  local size=0
  [[ -z ${3:-} ]] || size=$(stat -c %s "$3")
  printf '070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x' \
    0 "$2" 0 0 1 0 "$size" 0 0 0 0 $((${#1} + 1)) 0
  printf '%s\0' "$1"
  head -c $(((4 - (110 + ${#1} + 1) % 4) % 4)) /dev/zero
  [[ -z ${3:-} ]] || { cat "$3" && head -c $(((4 - size % 4) % 4)) /dev/zero; }
}

gcc -O1 -static -o init "$here"/check/*.c
# exit(0) for i386, assembled and linked without a 32-bit C library.
printf '.globl _start\n_start: mov $1, %%eax\nxor %%ebx, %%ebx\nint $0x80\n.section .note.GNU-stack,"",@progbits\n' | as --32 -o check32.o -
ld -m elf_i386 -o check32 check32.o
{ record init 0100755 init && record check32 0100755 check32 && record 'TRAILER!!!' 0; } >initramfs

# The container's own disks, and images of file systems that programs mount: SCSI units 3 and up.
mkdir image
echo image >image/file
setfattr -n user.from -v image image/file 2>/dev/null || python3 -c 'import os; os.setxattr("image/file", "user.from", b"image")'
mkfs.erofs -x1 image.erofs image >/dev/null 2>&1
mke2fs -qF -t ext4 -O quota disk.ext4 64M >/dev/null
truncate -s 4M unit3
mksquashfs image unit4 -quiet -no-progress >/dev/null
truncate -s 4M unit5
mkfs.vfat unit5 >/dev/null
mcopy -i unit5 image/file ::file
genisoimage -quiet -R -o unit6 image
units=(3 4 5 6)
if [[ -n $flavour ]]; then
  truncate -s 300M unit7
  printf '/\n0 0\nd--755 0 0\nfile ---644 0 0 image/file\n$\n' >proto
  mkfs.xfs -q -p proto unit7
  truncate -s 128M unit8
  mkfs.btrfs -q --rootdir image unit8 >/dev/null
  units+=(7 8)
fi
disks=()
for unit in "${units[@]}"; do
  disks+=(-drive "id=unit$unit,file=unit$unit,format=raw,if=none" -device "scsi-hd,bus=scsi.0,lun=$unit,drive=unit$unit")
done

khz=$(awk '/^cpu MHz/ { printf "%d", $4 * 1000; exit }' /proc/cpuinfo)
timeout 120 qemu-system-x86_64 -M microvm,acpi=off,x-option-roms=off,isa-serial=off -accel tcg -cpu max -m 640 \
  -nodefaults -no-user-config -nographic -no-reboot -kernel "$kernel" -initrd initramfs \
  -append "console=hvc0 tsc_early_khz=$khz reboot=t lapic_timer_khz=1000000 $flavour" \
  -device virtio-serial-device -chardev file,id=console,path=console.log -device virtconsole,chardev=console \
  -chardev file,id=channel,path=channel.log -device virtserialport,chardev=channel,name=check.channel \
  -drive id=image,file=image.erofs,format=raw,if=none,readonly=on -device virtio-blk-device,drive=image \
  -drive id=disk,file=disk.ext4,format=raw,if=none -device virtio-blk-device,drive=disk \
  -device virtio-scsi-device,id=scsi "${disks[@]}" \
  -device virtio-rng-device -device virtio-balloon-device,free-page-reporting=on \
  -fsdev local,id=share,path=image,security_model=none,readonly=on -device virtio-9p-device,fsdev=share,mount_tag=share \
  -netdev user,id=net,restrict=on -device virtio-net-device,netdev=net ||
  { echo "kernel check: the VM did not end by itself" >&2; }
# The kernel's own words only if it did not get far.
tr -d '\r' <console.log >log
if grep -q '^PID 1' log; then sed -n '/^PID 1/,$p' log; else cat log; fi
grep -q 'Linux version' log || { echo "FAIL the console lost the first messages"; exit 1; }
grep -qx hello channel.log || { echo "FAIL nothing came through the named port"; exit 1; }
grep -q '^checks: .*, failed: 0' console.log
"$here/check-docker.sh" ${flavour:+--flavour "$flavour"} "$(dirname "$kernel")/config"
