#!/usr/bin/env bash
# The Debian package in a system that was booted with systemd: a machine of our own. Socket activation, a crash, an upgrade under a running
# container, a boot, removal. Called by tests/package.sh.
#
#   tests/package-booted.sh ROOT FIRST.deb NEWER.deb IMAGE    ROOT has systemd and what the package depends on; IMAGE is the busybox archive
#
# CONTAINER_TEST_PREFIX names the prefix whose `container` boots it.
set -euo pipefail
[ $# -eq 4 ] || { sed -n '2,8p' "$0"; exit 64; }
root=$1 first=$2 newer=$3 image=$4
work=$(mktemp -d)
export CONTAINER_APP_ROOT=$work/app XDG_RUNTIME_DIR=$work XDG_CONFIG_HOME=$work/config
container() { timeout -k 5 600 "$CONTAINER_TEST_PREFIX/bin/container" "$@"; }
cleanup() {
    container system stop >/dev/null 2>&1 || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT
fail() {
    echo "package-booted.sh: $*" >&2
    container machine run -n host --root journalctl -b --no-pager -n 60 >&2 || true
    exit 1
}

cp "$first" "$root/root/first.deb"
cp "$newer" "$root/root/newer.deb"
cp "$image" "$root/root/busybox.tar"
: >"$root/etc/machine-id"
tar -C "$root" --numeric-owner --xattrs --exclude='./proc/*' --exclude='./sys/*' --exclude='./dev/*' --exclude='./run/*' -cf "$work/root.tar" .
container system start --enable-kernel-install
container image import "$work/root.tar" host:test >/dev/null
rm "$work/root.tar"
container machine create --name host -c 2 -m 2g --home-mount none --virtualization --pull never host:test >/dev/null
inside() { container machine run -n host --root sh -c "$1"; }
# Machines in the machine have its KVM: an emulator that is emulated is too slow for them.
inside 'systemctl is-system-running --wait' >/dev/null || fail "systemd is not well: $(inside 'systemctl --failed --no-legend' || true)"

inside 'dpkg -i /root/first.deb >/dev/null'
# The first command starts the service, by its socket.
inside 'systemctl enable --now container.socket 2>/dev/null && ! systemctl is-active --quiet container.service'
inside 'container list --quiet && systemctl is-active --quiet container.service' || fail "the socket starts no service"
inside 'container image load -i /root/busybox.tar >/dev/null'
inside 'container run -d --name kept --restart always -m 200M -c 1 --network none busybox sleep 100000' >/dev/null || fail "a container does not run"
alive() { [ "$(inside 'container exec kept echo alive')" = alive ] || fail "$1"; }
pid='systemctl show --value -p MainPID container.service'
restarted() {
    inside "for i in \$(seq 100); do p=\$($pid); [ \"\$p\" = $1 ] || [ \"\$p\" = 0 ] || exit 0; sleep 0.2; done; exit 1" || fail "$2"
}
before=$(inside "$pid")
inside 'systemctl kill --kill-whom=main -s KILL container.service'
restarted "$before" "the service is not started again after a crash"
alive "a crash of the service stopped a container"
before=$(inside "$pid")
inside 'dpkg -i /root/newer.deb >/dev/null'
restarted "$before" "an upgrade leaves the old service running"
alive "an upgrade stopped a container"
# A container that is always to run comes up with the system.
inside 'systemctl enable container.service 2>/dev/null'
container machine stop --time 120 host >/dev/null
container machine start host >/dev/null
inside 'systemctl is-system-running --wait' >/dev/null || fail "systemd is not well after a boot"
inside 'for i in $(seq 300); do container list --quiet | grep -qx kept && exit 0; sleep 0.5; done; exit 1' || fail "the container is not there after a boot"
alive "the container does not run after a boot"
# A user has the same, without being logged in.
inside 'useradd -m worker && loginctl enable-linger worker && for i in $(seq 150); do [ -S /run/user/$(id -u worker)/systemd/private ] && exit 0; sleep 0.2; done; exit 1' ||
    fail "the user has no service manager"
worker() { inside "runuser -u worker -- env HOME=/home/worker XDG_RUNTIME_DIR=/run/user/\$(id -u worker) sh -c '$1'"; }
worker 'systemctl --user enable --now container.socket 2>/dev/null'
worker 'container list --quiet && systemctl --user is-active --quiet container.service' || fail "a user's socket starts no service"
worker 'container system stop' >/dev/null
inside 'dpkg -r container >/dev/null && [ ! -e /usr/bin/container ] && ! systemctl is-enabled --quiet container.socket 2>/dev/null'
# The kernel keeps 15 bytes of a name.
inside '! pgrep -x container-apise >/dev/null' || fail "the service outlives the package"
inside 'dpkg -P container >/dev/null && [ ! -e /etc/container/config.toml ]'
rm -f "$root"/root/{first.deb,newer.deb,busybox.tar}
echo "packages: in a booted system, by its socket, through a crash, an upgrade and a boot"
