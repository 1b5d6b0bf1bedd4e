#!/usr/bin/env bash
# Fetches peers that give a container a machine of its own, for the benchmark with KVM.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: peers.sh DIR

Fetches the wheels of microsandbox, boxlite and smolmachines with pip from the index that is configured here, in the versions and
with the digests below, and unpacks them into DIR. Nothing is installed. Does nothing if they are there.
TXT
}

[ $# -eq 1 ] && [[ $1 != -* ]] || { usage; [[ ${1:-} == -h || ${1:-} == --help ]]; exit; }
out=$(realpath -m "$1")
work=$(mktemp -d "${TMPDIR:-/tmp}/peers.XXXXXX")
trap 'rm -rf "$work"' EXIT
cat >"$work/wanted" <<'PINNED'
microsandbox==0.7.11 --hash=sha256:65f1e4bbf8d721c9f7f557329fb6c8cf41f554c1c6942eac8b941198fa283fe0
boxlite==0.10.8 --hash=sha256:bf8ee64adac854c128c8bc51e673c16748f08400718926b066fc6515b0566c5e
smolmachines==1.32.2 --hash=sha256:81b104e2622aa0b187b6b7054397c391151b83db2638a16d0e54c517684f0dc2
PINNED
! cmp -s "$work/wanted" "$out/pinned" || exit 0
# The digests are those of x86-64 and CPython 3.11.
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    --platform manylinux_2_28_x86_64 --python-version 3.11 --dest "$work/wheels" --requirement "$work/wanted"
rm -rf "$out"
mkdir -p "$out"
for wheel in "$work"/wheels/*.whl; do
    python3 -m zipfile -e "$wheel" "$out"
done
# A zip that is unpacked so has lost its modes.
chmod 0755 "$out/microsandbox/_bundled/bin/msb" "$out/smol/smol-vmm"
cp "$work/wanted" "$out/pinned"
