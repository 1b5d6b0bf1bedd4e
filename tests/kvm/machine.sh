#!/usr/bin/env bash
# Runs a command with real KVM on a machine that has none: Debian's own kernel, as the guest of an emulated CPU with
# SVM, sees the host's files read-only and runs the command with its own /dev/kvm.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: machine.sh WORK-DIRECTORY COMMAND [ARGUMENT]...

WORK-DIRECTORY   where the outer kernel is kept between runs
COMMAND          run as root with the caller's CONTAINER_ variables, HOME and TMPDIR in memory, and $RESULTS, a
                 directory whose files come back as WORK-DIRECTORY/results

KVM_LIMIT        seconds after which the machine is ended (300)
KVM_CHANCES      how many times it may begin, where the outer kernel panics (1)
KVM_CPUS         1 or 2 (1): with two, guests are silent now and then, and the outer kernel panics; with one, neither was seen
KVM_DISK         size of a disk (8G) for HOME, TMPDIR and /tmp, for programs that want attributes of files; unset: memory
TXT
}

[ $# -ge 2 ] || { usage; exit 2; }
mkdir -p "$1/results"
work=$(realpath "$1")
shift
cpus=${KVM_CPUS:-1}

# In the order in which they depend on each other (modinfo -F depends).
modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci fuse virtiofs
    rng-core ccp irqbypass kvm kvm-amd tun tap vhost_iotlb vhost vhost_net crc32c_generic crc16 mbcache jbd2 ext4 virtio_blk)

# Debian's generic kernel, fetched and unpacked but not installed.
package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ { print $2; exit }')
[ -n "$package" ] || { apt-get -q update; package=$(apt-cache depends linux-image-amd64 | awk '/Depends: linux-image/ { print $2; exit }'); }
if [ ! -d "$work/$package" ]; then
    echo "fetching $package"
    (cd "$work" && rm -f ./*.deb && apt-get -q download "$package")
    rm -rf "$work/unpacking"
    dpkg-deb -x "$work/$package"_*.deb "$work/unpacking"
    rm -f "$work"/*.deb
    mv "$work/unpacking" "$work/$package"
fi

scratch=$(mktemp -d "$work/run.XXXXXX")
servers=()
finish() {
    for server in "${servers[@]}"; do
        kill "$server" 2>/dev/null || true
    done
    rm -rf "$scratch"
}
trap finish EXIT

# share TAG DIRECTORY CACHE
share() {
    rm -f "$scratch/$1.sock"
    /usr/lib/qemu/virtiofsd --socket-path="$scratch/$1.sock" -o source="$2" -o sandbox=chroot -o cache="$3" \
        >"$scratch/$1.log" 2>&1 &
    servers+=($!)
    for _ in $(seq 100); do
        [ ! -S "$scratch/$1.sock" ] || return 0
        sleep 0.05
    done
}

initramfs=$scratch/initramfs
mkdir -p "$initramfs"/{bin,modules}
cp "$(command -v busybox)" "$initramfs/bin/busybox"
install -m 0755 "$(dirname "$0")/init" "$initramfs/init"
for module in "${modules[@]}"; do
    file=$(find "$work/$package/lib/modules" -name "$module.ko" -print -quit)
    # A module that this kernel has built in has no file.
    [ -z "$file" ] || { cp "$file" "$initramfs/modules/"; echo "$module"; }
done >"$initramfs/modules/order"
{
    echo 'export HOME=/run/scratch TMPDIR=/run/scratch RESULTS=/run/results'
    echo 'export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'
    for variable in "${!CONTAINER_@}"; do
        printf 'export %s=%q\n' "$variable" "${!variable}"
    done
    # A kernel rewrites its scheduler for the first virtual machine and after the last (preempt_notifier_key). QEMU
    # 7.2's TCG can keep the breakpoint that stands there meanwhile, and both CPUs then meet it for ever. So one machine
    # is made before there is a second CPU, and stays (0xAE01 is KVM_CREATE_VM).
    [ "$cpus" = 1 ] || cat <<'KEEP'
perl -e 'open $kvm, "+<", "/dev/kvm"; ioctl $kvm, 0xAE01, 0 or die "no machine: $!";
    open $cpu, ">", "/sys/devices/system/cpu/cpu1/online"; print $cpu 1; close $cpu or die "no second CPU: $!"; sleep' &
KEEP
    printf 'exec'
    printf ' %q' "$@"
    echo
} >"$initramfs/command"
(cd "$initramfs" && find . | cpio -o -H newc --quiet) >"$scratch/initramfs.cpio"

# A CPU that halts just when the other one calls it may miss that; without its tick it would never look again.
together=
[ "$cpus" = 1 ] || together='nohz=off maxcpus=1'

# TCG runs `rep stosb` byte by byte: a kernel that believes in it spends half of its time clearing pages.
run() {
    share host / always
    share results "$work/results" none
    timeout -k 5 "${KVM_LIMIT:-300}" qemu-system-x86_64 -machine q35,accel=tcg,memory-backend=memory \
        -cpu max,+svm,-erms,-fsrm -smp "$cpus" -m 4G \
        -object memory-backend-memfd,id=memory,size=4G,share=on \
        -nodefaults -no-user-config -display none -no-reboot -serial stdio \
        -kernel "$work/$package"/boot/vmlinuz-* -initrd "$scratch/initramfs.cpio" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable $together" \
        -chardev socket,id=host,path="$scratch/host.sock" -device vhost-user-fs-pci,chardev=host,tag=host \
        -chardev socket,id=results,path="$scratch/results.sock" -device vhost-user-fs-pci,chardev=results,tag=results \
        "${disk[@]}" \
        </dev/null | tee "$scratch/console.log" | tr -d '\r' || echo "the nested machine was ended after its time"
}

begin=$(date +%s)
for chance in $(seq "${KVM_CHANCES:-1}"); do
    disk=()
    if [ -n "${KVM_DISK:-}" ]; then
        mke2fs -q -F -t ext4 "$scratch/disk.img" "$KVM_DISK"
        disk=(-drive "file=$scratch/disk.img,if=none,id=disk,format=raw,cache=unsafe" -device virtio-blk-pci,drive=disk)
    fi
    run
    # The emulated SVM sometimes leaves a fault of a guest to the outer kernel, which ends of it. The command had no part in that.
    grep -q 'Kernel panic' "$scratch/console.log" || break
    echo "the outer kernel panicked at chance $chance"
done
echo "nested machine: $(($(date +%s) - begin)) s"
grep -q 'KVM: the command ended with 0' "$scratch/console.log"
