#!/usr/bin/env python3
"""What a NIC, a volume or a share adds to a start: pairs of `run` with it and without, by turns, of booted machines, of restored ones
and of the one that waits. Milliseconds of `run --rm busybox echo`: to its first byte, which is the start, and to its end, which waits for what was written
to a volume.

usage: additions.py PREFIX BUSYBOX.tar [ROUNDS] [network|volume|share]...

It runs as whoever calls it, in an app root of its own: as root, and once more as a user, for both kinds of networks."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

PATIENCE = 120
# Flags of a container that has it, and of one that has not. A machine with a share boots always.
SUBJECTS = {
    "network": (["--network", "default"], ["--network", "none"], ("booted", "waiting", "restored")),
    "volume": (["--network", "none", "-v", "added:/added"], ["--network", "none"], ("booted", "waiting", "restored")),
    "share": (["--network", "none", "-v", "{scratch}/shared:/added"], ["--network", "none"], ("booted",)),
}


class System:
    def __init__(self, prefix, scratch):
        self.program = os.path.join(prefix, "bin/container")
        self.environment = dict(os.environ, CONTAINER_APP_ROOT=os.path.join(scratch, "app"), XDG_RUNTIME_DIR=scratch)
        self.environment.pop("CONTAINER_DEBUG", None)

    def run(self, *words):
        done = subprocess.run(
            [self.program, *words], env=self.environment, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode != 0:
            sys.exit(f"{words}: {done.stderr}")
        return done.stdout

    def start(self, *flags):
        """Milliseconds to the first byte, and to the end."""
        words = [self.program, "run", "--rm", "-m", "256M", "-c", "1", *flags, "busybox", "echo", "x"]
        begun = time.monotonic()
        with subprocess.Popen(words, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as started:
            timer = threading.Timer(PATIENCE, started.kill)
            timer.start()
            byte = started.stdout.read(1)
            said = time.monotonic()
            failed = started.stderr.read()
            timer.cancel()
            if started.wait() != 0 or byte != b"x":
                sys.exit(f"{words}: {failed.decode(errors='replace')}")
        return (said - begun) * 1000, (time.monotonic() - begun) * 1000

    def waits(self):
        """Waits until a machine waits for a container like the last: on a busy host one for the last but one may be there still."""
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            templates = json.loads(self.run("system", "template", "list", "--format", "json"))
            if templates and max(templates, key=lambda template: template["usedDate"])["standby"]:
                return
            time.sleep(0.05)
        sys.exit("no machine waits")


def pairs(rounds, measure, with_it, without_it):
    """Of the first byte and of the end: medians of both, of what it adds in each pair, and what it adds to the best, as others on the host add to all
    the rest."""
    taken = {True: [], False: []}
    for round in range(rounds):
        # Whoever is second finds what the first has warmed up.
        for has_it in (True, False) if round % 2 else (False, True):
            taken[has_it].append(measure(with_it if has_it else without_it))
    for until, one, none in zip(("first byte", "end"), zip(*taken[True]), zip(*taken[False])):
        added = statistics.median(with_it - without for with_it, without in zip(one, none))
        yield until, statistics.median(none), statistics.median(one), added, min(one) - min(none)


def main():
    prefix, image = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 15
    subjects = sys.argv[4:] or list(SUBJECTS)
    who = "root" if os.geteuid() == 0 else "a user"
    with tempfile.TemporaryDirectory(prefix="added") as scratch:
        os.mkdir(os.path.join(scratch, "shared"))
        system = System(prefix, scratch)
        system.run("system", "start", "--enable-kernel-install")

        def show(subject, name, measure):
            with_it, without_it, machines = SUBJECTS[subject]
            if name not in machines:
                return
            with_it = [word.format(scratch=scratch) for word in with_it]
            for until, none, one, added, best in pairs(rounds, measure, with_it, without_it):
                print(
                    f"{who}, {subject}, {name}, {until}: {none:.0f} ms without, {one:.0f} ms with it; "
                    f"{added:+.1f} ms (median of {rounds} pairs), best {best:+.1f}",
                    flush=True,
                )

        def waiting(flags):
            # The machine that waits is for a container like the last.
            system.start(*flags)
            time.sleep(1)
            system.waits()
            return system.start(*flags)

        try:
            system.run("image", "load", "-i", image)
            for network in ("default", "none"):
                system.start("--network", network)
                system.waits()
            for subject in subjects:
                show(subject, "booted", lambda flags: system.start("--no-template", *flags))
                show(subject, "waiting", waiting)
            system.run("system", "stop")
            system.environment["CONTAINER_CONFIG_CONTAINER_STANDBY"] = "false"
            system.run("system", "start")
            for subject in subjects:
                show(subject, "restored", lambda flags: system.start(*flags))
        finally:
            system.run("system", "stop")


if __name__ == "__main__":
    main()
