#!/usr/bin/env bash
# Makes sure that Debian's packages for a purpose are there; installs what is missing.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: packages.sh run|build|test|real|bench|full|fuzz ...

Installs the Debian packages that are missing for:
  run     running containers
  build   building the guest kernel and the programs
  test    the test suite's peers and oracles
  real    the root for the tests of real programs
  bench   what the benchmark compares with
  full    checks of the larger kernel
  fuzz    building the fuzz targets
As another user than root it uses sudo.
TXT
}

# The libraries are those of the process that serves bind mounts; QEMU needs them, too. netbase has /etc/protocols.
run=(qemu-system-x86 e2fsprogs nftables passt slirp4netns libcap-ng0 libseccomp2 netbase)
build=(gcc libc6-dev make flex bison bc libelf-dev libcap-ng-dev libseccomp-dev xz-utils cpio linux-source-6.12 ca-certificates
    python3 git)
test=(busybox-static iptables erofs-utils fsverity skopeo umoci crun docker-registry openssl apache2-utils jq python3 util-linux procps zstd iproute2
    dbus gnome-keyring libfaketime golang-github-opencontainers-image-spec-dev python3-jsonschema
    squashfs-tools dosfstools mtools genisoimage uidmap groff python3-grpcio protobuf-compiler
    python3-prometheus-client curl socat openssh-client systemd python3-yaml zsh fish)
real=(debootstrap)
bench=(crun podman util-linux e2fsprogs python3 python3-pip)
full=(xfsprogs btrfs-progs)
fuzz=(g++)

wanted=()
[ $# -gt 0 ] || { usage; exit 2; }
for purpose in "$@"; do
    case $purpose in
        run) wanted+=("${run[@]}") ;;
        build) wanted+=("${build[@]}") ;;
        test) wanted+=("${test[@]}" xz-utils bzip2 lz4) ;;
        real) wanted+=("${real[@]}") ;;
        bench) wanted+=("${bench[@]}") ;;
        full) wanted+=("${full[@]}") ;;
        fuzz) wanted+=("${fuzz[@]}") ;;
        -h | --help) usage; exit 0 ;;
        *) usage >&2; exit 2 ;;
    esac
done

missing=()
for package in "${wanted[@]}"; do
    dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

sudo=()
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || {
        echo "packages.sh: as root, run: apt-get install ${missing[*]}" >&2
        exit 1
    }
    sudo=(sudo)
fi
echo "installing: ${missing[*]}"
"${sudo[@]}" apt-get -q update
DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get -q install -y --no-install-recommends "${missing[@]}"
