#!/usr/bin/env bash
# Runs a set of end-to-end tests with real KVM on a machine that has none: Debian's own kernel, as the guest of
# an emulated CPU with SVM, sees the host's files read-only and runs the staged programs with its /dev/kvm.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: run.sh E2E-BINARY PREFIX IMAGE WORK-DIRECTORY

E2E-BINARY       test binary of tests/e2e
PREFIX           staged prefix
IMAGE            busybox image archive
WORK-DIRECTORY   where the outer kernel is kept between runs
TXT
}

[ $# -eq 4 ] || { usage; exit 2; }
binary=$(realpath "$1") prefix=$(realpath "$2") image=$(realpath "$3")
mkdir -p "$4"
work=$(realpath "$4")
limit=${KVM_TEST_LIMIT:-300}

# What must hold under KVM as it does under TCG.
tests=(
    commands::the_doctor_knows_why_there_is_no_kvm
    run::prints_from_a_kernel_of_its_own
    exec::runs_beside_the_first_process
    terminal::a_shell_on_a_terminal
    streams::a_pipe_goes_through
    lifecycle::stop_asks_and_then_kills
    lifecycle::two_systems_run_side_by_side
    faults::a_killed_helper_or_vmm_stops_its_container_and_no_other
    templates::the_second_start_of_a_shape_comes_from_a_template_and_is_its_own_machine
)
# In the order in which they depend on each other (modinfo -F depends).
modules=(virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci fuse virtiofs
    rng-core ccp irqbypass kvm kvm-amd)

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
virtiofsd_pid=
finish() {
    [ -z "$virtiofsd_pid" ] || kill "$virtiofsd_pid" 2>/dev/null || true
    rm -rf "$scratch"
}
trap finish EXIT

initramfs=$scratch/initramfs
mkdir -p "$initramfs"/{bin,modules}
cp "$(command -v busybox)" "$initramfs/bin/busybox"
install -m 0755 "$(dirname "$0")/init" "$initramfs/init"
for module in "${modules[@]}"; do
    file=$(find "$work/$package/lib/modules" -name "$module.ko" -print -quit)
    # A module that this kernel has built in has no file.
    [ -z "$file" ] || { cp "$file" "$initramfs/modules/"; echo "$module"; }
done >"$initramfs/modules/order"
cat >"$initramfs/tests" <<TXT
export HOME=/run/tests TMPDIR=/run/tests PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export CONTAINER_TEST_PREFIX='$prefix' CONTAINER_TEST_IMAGE='$image' CONTAINER_TEST_ACCELERATOR=kvm
exec '$binary' --exact --color=never --test-threads=1 ${tests[*]}
TXT
(cd "$initramfs" && find . | cpio -o -H newc --quiet) >"$scratch/initramfs.cpio"

/usr/lib/qemu/virtiofsd --socket-path="$scratch/fs.sock" -o source=/ -o sandbox=chroot -o cache=always \
    >"$scratch/virtiofsd.log" 2>&1 &
virtiofsd_pid=$!
for _ in $(seq 100); do
    [ ! -S "$scratch/fs.sock" ] || break
    sleep 0.05
done

begin=$(date +%s)
timeout -k 5 "$limit" qemu-system-x86_64 -machine q35,accel=tcg,memory-backend=memory -cpu max,+svm \
    -smp 2 -m 4G -object memory-backend-memfd,id=memory,size=4G,share=on \
    -nodefaults -no-user-config -display none -no-reboot -serial stdio \
    -kernel "$work/$package"/boot/vmlinuz-* -initrd "$scratch/initramfs.cpio" \
    -append "console=ttyS0 quiet panic=-1 mitigations=off" \
    -chardev socket,id=fs,path="$scratch/fs.sock" -device vhost-user-fs-pci,chardev=fs,tag=host \
    </dev/null | tee "$scratch/console.log" | tr -d '\r'
echo "nested machine: $(($(date +%s) - begin)) s"
grep -q 'KVM: the tests ended with 0' "$scratch/console.log"
