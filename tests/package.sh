#!/usr/bin/env bash
# The packages, in a Debian root of their own: the same bytes twice, installed, used, upgraded under a running container,
# removed; and the archive for other distributions. Needs root, debootstrap and a mirror.
#
#   tests/package.sh ROOT IMAGE    ROOT is made, and kept for the next time; IMAGE is the busybox archive
set -euo pipefail
[ $# -eq 2 ] || { sed -n '2,5p' "$0"; exit 64; }
here=$(cd "$(dirname "$0")/.." && pwd)
image=$(realpath "$2")
mkdir -p "$1"
root=$(cd "$1" && pwd)
fail() { echo "package.sh: $*" >&2; exit 1; }

work=$(mktemp -d)
inside() { timeout -k 5 300 chroot "$root" env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 "$@"; }
cleanup() {
    [ ! -x "$root/usr/bin/container" ] || inside container system stop >/dev/null 2>&1 || true
    for mount in dev/pts dev sys/fs/cgroup sys proc run; do umount -l "$root/$mount" 2>/dev/null || true; done
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

if [ ! -e "$root/.made" ]; then
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Component: main" | head -n 1)
    debootstrap --variant=minbase --include=systemd "$suite" "$root" "$mirror" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; exit 1; }
    touch "$root/.made"
fi
for mount in proc sys dev; do mount --rbind "/$mount" "$root/$mount"; mount --make-rslave "$root/$mount"; done
mount -t tmpfs -o mode=755 tmpfs "$root/run"

cd "$here"
first=$(scripts/package.sh deb "$work/first")
second=$(scripts/package.sh deb "$work/second")
cmp "$first" "$second" || fail "two packages of the same programs differ"
newer=$(scripts/package.sh deb "$work/newer" 99.0)
cp "$first" "$root/root/first.deb"
cp "$newer" "$root/root/newer.deb"
cp "$image" "$root/root/busybox.tar"

inside apt-get -q install -y --no-install-recommends /root/first.deb >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; fail "it cannot be installed"; }
inside systemd-analyze verify --man=no /usr/lib/systemd/system/container.socket /usr/lib/systemd/system/container.service
inside env XDG_RUNTIME_DIR=/run systemd-analyze verify --user --man=no /usr/lib/systemd/user/container.socket /usr/lib/systemd/user/container.service
inside container system config check
inside container system start --enable-kernel-install
inside container image load -i /root/busybox.tar >/dev/null
inside container run -d --name kept -m 256M busybox sleep 100000 >/dev/null
inside dpkg -i /root/newer.deb >/dev/null
[ "$(inside container exec kept echo alive)" = alive ] || fail "the upgrade stopped a container"
# The new service takes over what the old one has started.
kill "$(inside sh -c 'for p in /proc/[0-9]*; do [ "$(readlink $p/root)" != / ] || continue; tr "\0" " " <$p/cmdline 2>/dev/null | grep -q "^/usr/bin/container-apiserver " && basename $p; done; true' | head -n 1)" 2>/dev/null || true
inside container system start
[ "$(inside container exec kept echo alive)" = alive ] || fail "the new service lost a container"
inside container run --rm -m 256M busybox true
inside dpkg -r container >/dev/null
[ ! -e "$root/usr/bin/container" ] || fail "the command is left"
[ -d "$root/root/.local/share/container" ] || fail "what was stored is gone"
[ -e "$root/etc/container/config.toml" ] || fail "the configuration is gone before a purge"
inside dpkg -P container >/dev/null
[ ! -e "$root/etc/container/config.toml" ] || fail "the configuration is left after a purge"

archive=$(scripts/package.sh tar "$work/archive")
tar -C "$root/root" -xzf "$archive"
unpacked=/root/$(basename "$archive" .tar.gz)
inside "$unpacked/install.sh" --prefix "/opt/a prefix" >/dev/null
inside "/opt/a prefix/bin/container" system start --enable-kernel-install
inside "/opt/a prefix/bin/container" run --rm -m 256M busybox true
inside "/opt/a prefix/bin/container" system stop
grep -q '^ExecStart="/opt/a prefix/bin/' "$root/opt/a prefix/lib/systemd/user/container.service" || fail "the unit names another prefix"
# What the administrator wrote stays.
config="$root/opt/a prefix/etc/container/config.toml"
echo '# mine' >>"$config"
inside "$unpacked/install.sh" --prefix "/opt/a prefix" >/dev/null
tail -n 1 "$config" | grep -qx '# mine' || fail "an upgrade overwrote the configuration"
inside "$unpacked/install.sh" --prefix "/opt/a prefix" --uninstall
tail -n 1 "$config" | grep -qx '# mine' || fail "the changed configuration is gone"
cp packaging/config.toml "$config"
inside "$unpacked/install.sh" --prefix "/opt/a prefix" --uninstall
! inside "$unpacked/install.sh" --prefix "/opt/a&b" >/dev/null 2>&1 || fail "a prefix that the units cannot name is taken"
[ -z "$(find "$root/opt" ! -type d)" ] || fail "files are left in the prefix"
rm -rf --one-file-system "$root$unpacked" "$root"/root/*.deb "$root/root/busybox.tar" "$root/root/.local" "$root/opt/a prefix"
echo "packages: installed, used, upgraded, removed"
for mount in dev/pts dev sys/fs/cgroup sys proc run; do umount -l "$root/$mount" 2>/dev/null || true; done
inside_packages=(systemd-sysv libpam-systemd dbus procps iproute2)
timeout -k 5 300 chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    apt-get -q install -y --no-install-recommends "${inside_packages[@]}" >"$work/log" 2>&1 || { tail -n 20 "$work/log" >&2; fail "no init can be installed"; }
CONTAINER_TEST_PREFIX=${CONTAINER_TEST_PREFIX:-$here/target/stage} tests/package-booted.sh "$root" "$first" "$newer" "$image"
