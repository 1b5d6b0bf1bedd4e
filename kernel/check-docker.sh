#!/usr/bin/env bash
# Compares a kernel's configuration with what docker's own check-config.sh asks for. That script comes from Debian's
# package docker.io, which is fetched once and not installed.
set -euo pipefail

usage() { echo "Usage: kernel/check-docker.sh [--flavour full] CONFIG"; }

flavour=''
if [[ ${1:-} == --flavour && ${2:-} == full ]]; then
  flavour=$2
  shift 2
fi
[[ $# -eq 1 && $1 != -* ]] || { usage; [[ ${1:-} == -h || ${1:-} == --help ]]; exit; }
config=$(realpath "$1")
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$here/../target/docker.io
script=$cache/check-config.sh

# What it says is missing, and why that is right. Anything else that is missing, and anything of these that is not,
# fails.
expected=(
  MEMCG_SWAP       # no option any more since Linux 6.1: always there
  RT_GROUP_SCHED   # with it no group of version 2 may have the cpu controller while a real-time process runs
  AUFS_FS          # not part of Linux
)
[[ -n $flavour ]] || expected+=(
  BTRFS_FS BTRFS_FS_POSIX_ACL # docker stores images on overlay; in the flavour "full"
)

if [[ ! -s $script ]]; then
  dir=$(mktemp -d)
  trap 'rm -rf "$dir"' EXIT
  (cd "$dir" && apt-get -q download docker.io >apt.log 2>&1) || { cat "$dir/apt.log" >&2; exit 1; }
  dpkg-deb --fsys-tarfile "$dir"/docker.io_*.deb | tar -x -C "$dir" ./usr/share/docker.io/contrib/check-config.sh
  mkdir -p "$cache"
  mv "$dir/usr/share/docker.io/contrib/check-config.sh" "$script"
fi

# It asks uname for the version that it judges: that of the configuration, not of the host.
bin=$(mktemp -d)
trap 'rm -rf "${dir:-$bin}" "$bin"' EXIT
version=$(sed -n 's/^# Linux.* \([0-9][0-9.]*\)[^ ]* Kernel Configuration$/\1/p' "$config")
[[ -n $version ]] || { echo "FAIL $config names no version" >&2; exit 1; }
printf '#!/bin/sh\necho %s\n' "$version" >"$bin/uname"
chmod +x "$bin/uname"
answer=$(PATH=$bin:$PATH bash "$script" "$config" 2>&1 | sed 's/\x1b\[[0-9;]*m//g') || true
asked=$(grep -c 'CONFIG_.*: ' <<<"$answer" || true)
missing=$(sed -n 's/.*CONFIG_\([A-Z0-9_]*\): missing.*/\1/p' <<<"$answer" | sort -u)
difference=$(diff <(printf '%s\n' "${expected[@]}" | sort -u) <(printf '%s\n' "$missing")) || {
  echo "FAIL what docker misses (>) is not what is left out on purpose (<):"
  echo "$difference"
  exit 1
}
((asked > 50)) || { echo "FAIL docker's script asked for $asked options only"; exit 1; }
echo "docker asks for $asked options, left out on purpose: ${#expected[@]}"
