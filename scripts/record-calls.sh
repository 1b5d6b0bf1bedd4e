#!/usr/bin/env bash
# Shows which system calls a VMM really makes, by time and thread, beside those that its filter allows.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: record-calls.sh [LOG]

Runs the engine's tests with real machines under strace, and prints for each system call how often QEMU made it before
its machine ran and afterwards, by which threads, and the requests to devices. What the filter
(crates/engine/src/confinement/filter) lists and nobody called comes last.

LOG   a log of `strace -f -Y` that is read instead: of another QEMU, or of a machine with KVM (tests/kvm/machine.sh)

The QEMU is the first in PATH. Needs: strace (apt-get install strace), and what `make unit` needs.
TXT
}

case ${1-} in -h | --help) usage; exit ;; esac
cd "$(dirname "$0")/.."
log=${1-}
if [ -z "$log" ]; then
    command -v strace >/dev/null || { echo "record-calls.sh: apt-get install strace" >&2; exit 1; }
    log=target/calls.strace
    binary=$(cargo test --workspace --locked --test vm --no-run --message-format=json 2>/dev/null |
        jq -r 'select(.executable and .target.name == "vm") | .executable')
    (cd crates/engine && CONTAINER_TEST_KERNEL=${CONTAINER_TEST_KERNEL:-$PWD/../../target/kernel/vmlinux} \
        timeout 600 strace -f -Y -qq -o "../../$log" "$binary" --test-threads=1 >/dev/null)
fi
exec python3 - "$log" crates/engine/src/confinement/filter <<'PYTHON'
import collections, pathlib, re, sys

log, lists = sys.argv[1], pathlib.Path(sys.argv[2])
line = re.compile(r"(\d+)(?:<([^>]*)>)?\s+(?:<\.\.\. )?(\w+)(.*)")
# QEMU names its threads. Their ids are those of the VMM's own namespace where it makes them, so they are known by name.
names = re.compile(r"CPU \d|call_rcu|worker|IO |migration|live_migration|mig/|qemu-system")
vmm, running, newest = {}, set(), None      # thread -> its VMM; VMMs whose machine runs
counts = collections.defaultdict(collections.Counter)
requests = collections.Counter()
for text in open(log, errors="replace"):
    found = line.match(text)
    if not found:
        continue
    pid, thread, call, rest = found.groups()
    if call == "execve" and "qemu-system" in rest and "--version" not in rest:
        vmm[pid] = newest = pid
    if pid not in vmm and newest and names.match(thread or ""):
        vmm[pid] = newest
    if pid not in vmm:
        continue
    # The start is over when the owner has been answered for the first time.
    if call == "sendmsg" and '"return' in rest.replace("\\", ""):
        running.add(vmm[pid])
    if rest.startswith(" resumed"):
        continue
    counts[call][("running" if vmm[pid] in running else "starting", (thread or "?").rstrip("0123456789/"))] += 1
    if call == "ioctl":
        requests[rest.split(",")[1].split(")")[0].split("<")[0].strip()] += 1
for time in ("starting", "running"):
    print(f"# {time}")
    for call in sorted(counts):
        threads = {thread: n for (when, thread), n in counts[call].items() if when == time}
        if threads:
            print(f"{call:20} {sum(threads.values()):8}  " + ", ".join(sorted(threads)))
print("# requests to devices")
for request, n in sorted(requests.items()):
    print(f"{request:40} {n:8}")
listed = {call for name in ("running.rs", "starting.rs")
          for call in re.findall(r"^ +libc::SYS_(\w+),", (lists / name).read_text().split("#[cfg(test)]")[0], re.M)}
print("# listed, not called here:", ", ".join(sorted(listed - set(counts))))
PYTHON
