#!/usr/bin/env python3
"""machines.py STAGE BUSYBOX.tar DEBIAN.tar [ROUNDS [commands|boots]]: what container machines cost, each figure paired with its peer.

`machine run true` of a machine that runs beside `exec`, and the boot of a Debian with systemd to a login shell beside QEMU that boots the
same files from one disk, with the same kernel, to a login shell. Needs root, mke2fs and qemu-system-x86_64.
"""
import json
import os
import pathlib
import select
import statistics
import subprocess
import sys
import tempfile
import time

CPUS, MEMORY = 2, 1024
# A first process for busybox's root.
INIT = "ln -s /bin/busybox /sbin/init; echo ::respawn:/bin/sleep 100000 > /etc/inittab"
# The same machine as the engine's, without what only the engine needs.
QEMU = (
    "qemu-system-x86_64 -nodefaults -no-user-config -no-reboot -display none "
    "-machine microvm,acpi=off,isa-serial=off,x-option-roms=off,pit=on,pic=on,rtc=on -accel tcg,thread=multi "
    f"-cpu max,-svm,-erms,-fsrm -smp {CPUS} -m {MEMORY} -global virtio-mmio.force-legacy=false "
    "-chardev stdio,id=console -device virtio-serial-device -device virtconsole,chardev=console -device virtio-blk-device,drive=root"
).split()
# A boot that is not there by then never is.
PATIENCE = 300


class System:
    def __init__(self, stage, scratch):
        self.program = os.path.join(stage, "bin/container")
        self.environment = {
            **os.environ,
            "CONTAINER_APP_ROOT": os.path.join(scratch, "app"),
            "XDG_RUNTIME_DIR": scratch,
            "XDG_CONFIG_HOME": os.path.join(scratch, "config"),
        }

    def run(self, line):
        words = ["timeout", str(PATIENCE), self.program, *line.split()]
        return subprocess.run(words, env=self.environment, check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout

    def shell(self, line, script):
        words = ["timeout", str(PATIENCE), self.program, *line.split(), "sh", "-c", script]
        subprocess.run(words, env=self.environment, check=True, capture_output=True, stdin=subprocess.DEVNULL)

    def time(self, line):
        begun = time.monotonic()
        self.run(line)
        return (time.monotonic() - begun) * 1000


def login_shell(kernel, disk):
    """Milliseconds from QEMU's start to a login shell on its console. Nothing of the boot stays on the disk."""
    line = "console=hvc0 reboot=t panic=-1 no_timer_check quiet root=/dev/vda rw systemd.mask=serial-getty@hvc0.service"
    words = [*QEMU, "-kernel", kernel, "-append", line, "-drive", f"id=root,if=none,format=raw,snapshot=on,file={disk}"]
    begun = time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as vmm:
        try:
            said = b""
            while b"login:" not in said:
                left = PATIENCE - (time.monotonic() - begun)
                ready, _, _ = select.select([vmm.stdout], [], [], max(left, 0))
                more = os.read(vmm.stdout.fileno(), 65536) if ready else b""
                if not more:
                    sys.exit(f"machines.py: QEMU does not get to a login shell: {said[-2000:].decode(errors='replace')}")
                said += more
            return (time.monotonic() - begun) * 1000
        finally:
            vmm.kill()


def tell(ours, our_times, theirs, their_times, bound):
    ratio = statistics.median(a / b for a, b in zip(our_times, their_times))
    verdict = "holds" if ratio <= bound else "does not hold"
    print(f"{ours}: {statistics.median(our_times):.0f} ms; {theirs}: {statistics.median(their_times):.0f} ms; "
          f"ratio {ratio:.2f} (at most {bound}): {verdict}", flush=True)


def commands(system, rounds):
    system.shell("run --name base busybox", INIT)
    system.run("commit base linux:1")
    system.run("delete base")
    system.run("machine create --name small --home-mount none -c 1 -m 256M linux:1")
    container = json.loads(system.run("machine inspect small"))[0]["containerId"]
    ours, theirs = [], []
    for _ in range(rounds + 1):
        ours.append(system.time("machine run --name small true"))
        theirs.append(system.time(f"exec {container} true"))
    system.run("machine delete --force small")
    # The first pair warms both up.
    tell("machine run true", ours[1:], "exec true", theirs[1:], 1.5)


def boots(system, stage, archive, scratch, rounds):
    root = os.path.join(scratch, "root")
    os.mkdir(root)
    subprocess.run(["tar", "-C", root, "-xpf", archive, "--xattrs", "--numeric-owner"], check=True)
    # Without udev no getty finds its terminal: a login shell in its place, where a getty would start.
    units = pathlib.Path(root, "etc/systemd/system")
    text = '[Unit]\nAfter=systemd-user-sessions.service\n[Service]\nExecStart=/bin/sh -lc "echo login: > /dev/console"\n'
    units.joinpath("shell.service").write_text(text)
    wants = units / "multi-user.target.wants"
    wants.mkdir(exist_ok=True)
    wants.joinpath("shell.service").symlink_to("../shell.service")
    disk = os.path.join(scratch, "disk.ext4")
    subprocess.run(["mke2fs", "-qF", "-t", "ext4", "-d", root, disk, "4G"], check=True)
    system.run(f"image import {archive} debian")
    system.run(f"machine create --name large --home-mount none -c {CPUS} -m {MEMORY}M debian")
    kernel = next(pathlib.Path(stage, "share/container/kernel").glob("vmlinux-amd64"))
    ours, theirs = [], []
    for _ in range(rounds + 1):
        system.run("machine stop --time 60 large")
        ours.append(system.time("machine run --name large true"))
        theirs.append(login_shell(str(kernel), disk))
    system.run("machine delete --force large")
    tell("boot to a login shell", ours[1:], "QEMU to a login shell", theirs[1:], 1.2)


def main():
    if len(sys.argv) not in (4, 5, 6):
        sys.exit(__doc__)
    stage, busybox, debian = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 10
    only = sys.argv[5] if len(sys.argv) > 5 else ""
    with tempfile.TemporaryDirectory(prefix="container-bench") as scratch:
        system = System(stage, scratch)
        system.run("system start --enable-kernel-install")
        try:
            system.run(f"image load -i {busybox}")
            if only != "boots":
                commands(system, rounds)
            if only != "commands":
                boots(system, stage, debian, scratch, max(rounds // 3, 1))
        finally:
            system.run("system stop")


main()
