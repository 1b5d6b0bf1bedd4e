#!/usr/bin/env python3
"""services.py PREFIX [ROUNDS]: what the services themselves cost, without any container.

Prints medians (and the best) of: the start of the whole system until it lists images, which both the apiserver and the image
service have to answer; `container --help`; `container list`, and what it takes more than `--help`; the memory of all
processes when nothing happens (proportional set size), and how often they are woken in a second.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time


def main(prefix, rounds="10"):
    command = str(pathlib.Path(prefix).resolve() / "bin/container")
    with tempfile.TemporaryDirectory(prefix="container-bench") as scratch:
        environment = dict(os.environ, CONTAINER_APP_ROOT=f"{scratch}/app", XDG_RUNTIME_DIR=scratch, XDG_CONFIG_HOME=scratch)

        def run(*words):
            begun = time.monotonic()
            subprocess.run([command, *words], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return (time.monotonic() - begun) * 1000

        def show(name, samples):
            print(f"{name:32} {statistics.median(samples):7.1f} ms (best {min(samples):.1f})")

        starts = []
        for _ in range(int(rounds)):
            starts.append(run("system", "start", "--enable-kernel-install") + run("image", "list"))
            run("system", "stop")
        # The first one installs the kernel.
        show("system start and image list", starts[1:] or starts)
        run("system", "start")
        many = range(int(rounds) * 5)
        helps = [run("--help") for _ in many]
        lists = [run("list") for _ in many]
        show("container --help", helps)
        show("container list", lists)
        print(f"{'list beyond --help':32} {statistics.median(lists) - statistics.median(helps):7.1f} ms")

        time.sleep(5)
        own = processes(scratch)
        memory = sum(proportional(pid) for pid in own)
        before, seconds = wakings(own), 20
        time.sleep(seconds)
        print(f"{'idle memory, all processes':32} {memory / 1024:7.1f} MiB ({len(own)} processes)")
        print(f"{'idle wake-ups':32} {(wakings(own) - before) / seconds:7.2f} a second")
        run("system", "stop")


def processes(mark):
    found = []
    for entry in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            line = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if mark.encode() in line and entry.name != str(os.getpid()):
            found.append(entry)
    return found


def proportional(process):
    """KiB."""
    for line in (process / "smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    return 0


def wakings(own):
    total = 0
    for process in own:
        for thread in (process / "task").iterdir():
            for line in (thread / "status").read_text().splitlines():
                if line.startswith("voluntary_ctxt_switches:"):
                    total += int(line.split()[1])
    return total


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main(*sys.argv[1:])
