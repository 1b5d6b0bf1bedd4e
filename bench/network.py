#!/usr/bin/env python3
"""What a NIC adds to a start: pairs of `run` with a network and with none, by turns, of booted machines, of restored ones and of
the one that waits. Milliseconds to the end of `run --rm busybox true`.

usage: network.py PREFIX BUSYBOX.tar [ROUNDS]

It runs as whoever calls it, in an app root of its own: as root, and once more as a user, for both kinds of networks."""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

PATIENCE = 120


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

    def start(self, network, *flags):
        begun = time.monotonic()
        self.run("run", "--rm", "-m", "256M", "-c", "1", "--network", network, *flags, "busybox", "true")
        return (time.monotonic() - begun) * 1000

    def waits(self):
        """Waits until a machine waits for the next container."""
        begun = time.monotonic()
        while time.monotonic() - begun < PATIENCE:
            if any(template["standby"] for template in json.loads(self.run("system", "template", "list", "--format", "json"))):
                return
            time.sleep(0.05)
        sys.exit("no machine waits")


def pairs(rounds, measure):
    """Medians of both, of what the network adds in each pair, and what it adds to the best: others on the host add to all the rest."""
    with_one, without = [], []
    for round in range(rounds):
        # Whoever is second finds what the first has warmed up.
        for network in ("default", "none") if round % 2 else ("none", "default"):
            (with_one if network == "default" else without).append(measure(network))
    added = [one - none for one, none in zip(with_one, without)]
    return statistics.median(without), statistics.median(with_one), statistics.median(added), min(with_one) - min(without)


def main():
    prefix, image = sys.argv[1], sys.argv[2]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 15
    who = "root" if os.geteuid() == 0 else "a user"
    with tempfile.TemporaryDirectory(prefix="net") as scratch:
        system = System(prefix, scratch)
        system.run("system", "start", "--enable-kernel-install")
        try:
            system.run("image", "load", "-i", image)
            for network in ("default", "none"):
                system.start(network)
                system.waits()

            def waiting(network):
                # The machine that waits is for a container like the last.
                system.start(network)
                time.sleep(1)
                system.waits()
                return system.start(network)

            def restored(network):
                return system.start(network)

            def booted(network):
                return system.start(network, "--no-template")

            def show(name, measure):
                none, one, added, best = pairs(rounds, measure)
                print(f"{who}, {name}: {none:.0f} ms without, {one:.0f} ms with a network; {added:+.1f} ms (median of {rounds} pairs), best {best:+.1f}", flush=True)

            show("booted", booted)
            show("waiting", waiting)
            system.run("system", "stop")
            system.environment["CONTAINER_CONFIG_CONTAINER_STANDBY"] = "false"
            system.run("system", "start")
            show("restored", restored)
        finally:
            system.run("system", "stop")


if __name__ == "__main__":
    main()
