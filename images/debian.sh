#!/usr/bin/env bash
# Makes a Debian root with programs for the tests of real programs (`make test-real`).
set -euo pipefail

usage() {
    cat <<'TXT'
usage: debian.sh system|openrc|programs|builder OUT.tar [SUITE]

Writes a root file system, made by debootstrap from the mirror that apt uses here, to OUT.tar, for
`container image import`. Does nothing if OUT.tar is there and what it was made of is the same. SUITE is
that of this machine where none is given.

  system    systemd, dockerd and podman
  openrc    OpenRC, started by sysvinit
  programs  PostgreSQL, redis, nginx, node, git, cargo, CPython with its tests
  builder   dockerd, whose BuildKit is what `container build` is tested with, and the docker that it is compared with; QEMU for programs
            of arm64, and such a program: /srv/busybox-arm64
TXT
}

case ${1:-} in
    system) packages=(systemd-sysv dbus docker.io podman crun fuse-overlayfs busybox-static iproute2 iptables procps e2fsprogs sudo) ;;
    openrc) packages=(sysvinit-core openrc initscripts procps e2fsprogs sudo) ;;
    builder) packages=(docker.io iptables ca-certificates git qemu-user-static) ;;
    programs) packages=(postgresql redis-server nginx-light nodejs python3 libpython3.11-testsuite procps git cargo) ;;
    *) usage; [[ ${1:-} == -h || ${1:-} == --help ]]; exit ;;
esac
kind=$1
[ $# -eq 2 ] || [ $# -eq 3 ] || { usage; exit 2; }
out=$2
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
[ "$(id -u)" -eq 0 ] || { echo "debian.sh: debootstrap needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "debian.sh: run scripts/packages.sh real" >&2; exit 1; }
suite=${3:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
# The client is a package of its own since trixie.
[ "$1" != builder ] || [ "$suite" = bookworm ] || packages+=(docker-cli docker-buildx)
inputs=$({ echo "$suite $1"; cat "$here/debian.sh"; } | sha256sum | cut -d' ' -f1)
[ ! -e "$out" ] || [ "$(cat "$out.inputs" 2>/dev/null)" != "$inputs" ] || exit 0

mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" | head -n 1)
[ -n "$mirror" ] || { echo "debian.sh: apt has no mirror" >&2; exit 1; }
work=$(mktemp -d "${TMPDIR:-/tmp}/debian-image.XXXXXX")
trap 'rm -rf --one-file-system "$work"' EXIT
root=$work/root
make_root() {
    debootstrap --variant=minbase "$suite" "$root" "$mirror"
    # No service is started by its installation.
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod +x "$root/usr/sbin/policy-rc.d"
    # By apt, not by debootstrap, which configures packages in an order that some do not bear.
    DEBIAN_FRONTEND=noninteractive chroot "$root" apt-get -q install -y --no-install-recommends "${packages[@]}"
    rm "$root/usr/sbin/policy-rc.d"
    [ "$kind" != builder ] || foreign_programs
}
# A program of another CPU. Of the many that QEMU comes with, its own is kept.
foreign_programs() {
    find "$root/usr/bin" -name 'qemu-*' ! -name qemu-aarch64 ! -name qemu-aarch64-static -delete
    chroot "$root" dpkg --add-architecture arm64
    chroot "$root" apt-get -q update
    chroot "$root" sh -c 'cd /srv && apt-get -q download busybox-static:arm64'
    dpkg-deb --fsys-tarfile "$root"/srv/busybox-static_*.deb | tar -xO --wildcards '*/bin/busybox' >"$root/srv/busybox-arm64"
    chmod +x "$root/srv/busybox-arm64"
    rm "$root"/srv/*.deb
}
make_root >"$work/log" 2>&1 || {
    tail -n 30 "$work/log" >&2
    exit 1
}
# What nobody reads there, and what would make every container the same host.
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/cache/apt/*.bin "$root"/var/lib/apt/lists/* "$root"/usr/share/{doc,man,locale}
rm -f "$root/etc/hostname" "$root/etc/resolv.conf"
: >"$root/etc/machine-id"
tar -C "$root" --numeric-owner --xattrs --exclude=./proc/* --exclude=./sys/* --exclude=./dev/* -cf "$out.tmp" .
mv "$out.tmp" "$out"
echo "$inputs" >"$out.inputs"
