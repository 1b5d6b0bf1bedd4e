#!/usr/bin/env bash
# Runs a first container from a staged prefix and says how long it took.
set -euo pipefail

stage=$1 image=$2
container=$stage/bin/container

"$container" system start --enable-kernel-install
"$container" image load -i "$image" >/dev/null
echo
echo '$ container run --rm busybox echo hello'
start=$(date +%s%N)
"$container" run --rm busybox echo hello
end=$(date +%s%N)
accelerator=$("$container" system doctor --format json | jq -r '.[] | select(.name == "accelerator").detail' || true)
echo
echo "A Linux kernel was booted for that, and it is gone: $(((end - start) / 1000000)) ms."
echo "Accelerator: ${accelerator:-unknown}."
cat <<TXT

Go on:
  export PATH=$stage/bin:\$PATH
  container run -it --rm busybox sh
  container system stop
TXT
