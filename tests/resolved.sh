#!/usr/bin/env bash
# `system dns` with the systemd-resolved of Debian: it runs in a root beside the host's, with a D-Bus of its own, and like the system in a network
# namespace. Needs root.
set -euo pipefail

[ $# -eq 4 ] || { echo "usage: resolved.sh PREFIX BUSYBOX.tar DEBIAN.tar DIRECTORY"; exit 2; }
[ "$(id -u)" -eq 0 ] || { echo "resolved.sh: needs root"; exit 2; }

prefix=$(realpath "$1") busybox=$(realpath "$2") debian=$(realpath "$3")
here=$(cd "$(dirname "$0")" && pwd)

if [ "${RESOLVED_INSIDE:-}" != 1 ]; then
    work=$(realpath -m "$4")
    rm -rf --one-file-system "$work"
    mkdir -p "$work/root" "$work/bin" "$work/run"
    tar -xf "$debian" -C "$work/root"
    "$here/../scripts/unpack-packages.sh" "$work/package" "$(. /etc/os-release && echo "$VERSION_CODENAME")" systemd-resolved
    # The package has /lib, which is a link in the root.
    for directory in usr lib etc; do
        [ ! -d "$work/package/$directory" ] || cp -a "$work/package/$directory/." "$work/root/$directory/"
    done
    # Its namespaces take the mounts and the processes with them.
    RESOLVED_INSIDE=1 timeout 300 unshare --net --mount --pid --fork --mount-proc "$0" "$prefix" "$busybox" "$debian" "$work"
    rm -rf --one-file-system "$work"
    exit
fi

work=$4 root=$4/root
inside() { chroot "$root" "$@"; }
start_resolver() {
    chroot "$root" setsid /lib/systemd/systemd-resolved 2>>"$work/resolved.log" &
    resolver=$!
}
# in_time COMMAND...: waits for it to succeed, for 10 s.
in_time() {
    local left=100
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ $left -gt 0 ] || { echo "resolved.sh: never: $*"; return 1; }
        sleep 0.1
    done
}
fails() { ! "$@" >/dev/null 2>&1 || { echo "resolved.sh: it should fail: $*"; return 1; }; }

ip link set lo up
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs tmpfs "$root/run"
mount --rbind /dev "$root/dev"
mkdir -p "$root/run/dbus" "$root/run/systemd/system"
inside getent passwd systemd-resolve >/dev/null || inside useradd --system systemd-resolve
inside dbus-uuidgen --ensure
inside dbus-daemon --system --fork
# The client that the product calls.
printf '#!/bin/sh\nexec chroot %q resolvectl "$@"\n' "$root" >"$work/bin/resolvectl"
chmod +x "$work/bin/resolvectl"
export PATH=$work/bin:$PATH CONTAINER_APP_ROOT=$work/app XDG_RUNTIME_DIR=$work/run
container() { timeout 60 "$prefix/bin/container" "$@"; }

container system start --enable-kernel-install
trap 'container system stop' EXIT
container image load -i "$busybox" >/dev/null
{ container system dns create test 2>&1 || true; } | grep -q 'through systemd-resolved'

start_resolver
in_time resolvectl status
container system dns create test
container run -d --name web busybox sleep 300
address=$(container inspect web | jq -er '.[0].status.networks[0].ipv4Address // .[0].networks[0].ipv4Address' | cut -d / -f 1)
in_time resolvectl query web.test
resolvectl query web.test | grep -qF "$address"
resolvectl query web.test | grep -q 'fd'
fails resolvectl query other.test

# It keeps what it was told when it starts anew.
kill "$resolver"
wait "$resolver" || true
start_resolver
in_time resolvectl query web.test

container system dns delete test
fails resolvectl query web.test
container delete -f web
echo "resolved.sh: systemd-resolved finds containers"
