#!/usr/bin/env python3
"""builds.py STAGE BUSYBOX.tar BUILDER.tar DOCKER [ROUNDS]: what a build costs when everything is cached, beside `docker build`.

Both clients talk to one builder, whose image is BUILDER.tar (`images/debian.sh builder`): `container build` of STAGE, and DOCKER, the
client of the same version. Each build of the one is followed by one of the other. Prints medians, and the largest memory of a client.
"""
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

DOCKERD = "rm -rf /run/docker*; exec dockerd"
FILES, SIZE = 5000, 20_000
PATIENCE = 300


class Client:
    """A program, its times in ms and its peak of memory in KiB."""

    def __init__(self, environment):
        self.environment = environment
        self.times, self.memory = [], 0

    def run(self, *words):
        begun = time.monotonic()
        with tempfile.TemporaryFile() as said:
            process = subprocess.Popen(words, env=self.environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.times.append((time.monotonic() - begun) * 1000)
            if process.returncode:
                said.seek(0)
                sys.exit(f"{words}: {said.read().decode()}")
        self.memory = max(self.memory, usage.ru_maxrss)


def main(stage, busybox, builder, docker, rounds="10"):
    program = str(pathlib.Path(stage).resolve() / "bin/container")
    with tempfile.TemporaryDirectory(prefix="container-bench") as scratch:
        scratch = pathlib.Path(scratch)
        own = {**os.environ, "CONTAINER_APP_ROOT": str(scratch / "app"), "XDG_RUNTIME_DIR": str(scratch), "XDG_CONFIG_HOME": str(scratch)}
        (scratch / "container").mkdir()
        (scratch / "container/config.toml").write_text('[build]\nimage = "builder"\nmemory = "1gb"\n[container]\nstandby = false\n')

        def container(*words):
            subprocess.run([program, *words], env=own, check=True, stdout=subprocess.DEVNULL, timeout=PATIENCE)

        container("system", "start", "--enable-kernel-install")
        try:
            container("image", "load", "-i", busybox)
            entry = 'ENTRYPOINT ["sh", "-c", "%s"]' % DOCKERD
            container("image", "import", "--change", entry, "--change", "VOLUME /var/lib/docker", builder, "builder")
            container("builder", "start")
            socket = next(scratch.rglob("builder-*docker.sock"))
            peer = {**os.environ, "DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "1", "HOME": str(scratch)}
            small, large = scratch / "small", scratch / "large"
            small.mkdir()
            (small / "file").write_text("x")
            (small / "Dockerfile").write_text("FROM busybox\nCOPY file /\nRUN echo a > /a\nRUN echo b > /b\n")
            large.mkdir()
            (large / "Dockerfile").write_text("FROM busybox\nCOPY . /d/\n")
            for number in range(FILES):
                place = large / f"d{number % 50}"
                place.mkdir(exist_ok=True)
                (place / f"f{number}").write_bytes(os.urandom(SIZE))
            for name, context in ("everything cached", small), ("100 MB in 5,000 files, unchanged", large):
                ours, theirs = Client(own), Client(peer)
                for turn in range(int(rounds) + 1):
                    ours.run(program, "build", "-q", "-t", "bench", str(context))
                    theirs.run(docker, "build", "-q", "-t", "bench", str(context))
                    if turn == 0:
                        # The first ones send and run everything.
                        ours.times.clear()
                        theirs.times.clear()
                pairs = [a / b for a, b in zip(ours.times, theirs.times)]
                print(f"{name}: {statistics.median(ours.times):.0f} ms (best {min(ours.times):.0f}), "
                      f"docker {statistics.median(theirs.times):.0f} ms (best {min(theirs.times):.0f}), "
                      f"ratio {statistics.median(pairs):.2f}; memory {ours.memory / 1024:.0f} MiB, docker {theirs.memory / 1024:.0f} MiB", flush=True)
        finally:
            subprocess.run([program, "system", "stop"], env=own, check=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
