"""Runs boxlite for the benchmark: one request on each line of standard input, one answer on each line of standard output."""

import asyncio
import sys
import time

wheels, layout = sys.argv[1:]
sys.path.insert(0, wheels)

import boxlite

# Its jailer wants user namespaces, which the kernel gives no process whose root was changed by chroot.
BARE = boxlite.AdvancedBoxOptions(security=boxlite.SecurityOptions(jailer_enabled=False))


def box(name=None):
    return boxlite.SimpleBox(rootfs_path=layout, cpus=1, memory_mib=256, name=name, advanced=BARE)


async def true(machine):
    result = await machine.exec("true")
    if result.exit_code != 0:
        raise RuntimeError(f"exit code {result.exit_code}: {result.stderr}")


async def start():
    begun = time.monotonic()
    async with box() as machine:
        await true(machine)
    return (time.monotonic() - begun) * 1000


async def serve():
    standing = {}
    for line in sys.stdin:
        request, _, name = line.strip().partition(" ")
        said = []
        try:
            if request == "start":
                await start()
            elif request == "many":
                said = await asyncio.gather(*(start() for _ in range(int(name))))
            elif request == "stand":
                standing[name] = box(name)
                await standing[name].__aenter__()
            elif request == "exec":
                await true(standing[name])
            elif request == "remove":
                await standing.pop(name).__aexit__(None, None, None)
            print("done", *said, flush=True)
        except Exception as error:
            print("failed:", " ".join(str(error).split()), flush=True)


asyncio.run(serve())
