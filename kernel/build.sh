#!/usr/bin/env bash
# Builds the guest kernel from Debian's source package; see README.md.
set -euo pipefail

readonly PACKAGE=linux-source-6.12
readonly TARBALL=/usr/src/$PACKAGE.tar.xz
readonly INTERVAL=15 # seconds between progress lines where there is no terminal

usage() {
  cat <<USAGE
Usage: kernel/build.sh [--force] [--flavour NAME] [OUTPUT-DIRECTORY]

Builds the guest kernel into OUTPUT-DIRECTORY (default: target/kernel, with a
flavour target/kernel-NAME):

  vmlinux     the kernel, an ELF file with a PVH entry, stripped
  System.map  its symbols, to read a panic's addresses with
  config      its full configuration

Does nothing if they are up to date. OUTPUT-DIRECTORY/.work keeps the source
and the objects, so that a changed option costs seconds, not minutes; it can be
deleted at any time.

  --flavour NAME  add the options of kernel/NAME.config: "full" is the only one
  --force         build from scratch
  --inputs        print the hash of what the kernel would be built from
  -h, --help      show this text

A kernel that was built from the same inputs before, by any clone, is taken from
  \${XDG_CACHE_HOME:-~/.cache}/container/kernels/HASH/{vmlinux,System.map,config}
where each build leaves a copy of its own; --inputs prints HASH. Somebody else's
may be put there, too. --force builds all the same.

Environment: JOBS (parallel compilers, default: all processors),
CONTAINER_KERNELS (another directory than the one above).
USAGE
}

say() { printf 'kernel: %s\n' "$*"; }
die() {
  printf 'kernel: error: %s\n' "$*" >&2
  exit 1
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out='' force='' flavour='' print=''
while (($#)); do
  case $1 in
    -h | --help) usage; exit ;;
    --force) force=1 ;;
    --inputs) print=1 ;;
    --flavour)
      [[ ${2:-} == full ]] || { usage >&2; die "unknown flavour: ${2:-}"; }
      flavour=$2
      shift
      ;;
    -*) usage >&2; die "unknown option: $1" ;;
    *) [[ -z $out ]] || { usage >&2; die "more than one output directory"; }; out=$1 ;;
  esac
  shift
done
[[ $(uname -m) == x86_64 ]] || die "only x86_64 is supported, this is $(uname -m)"
mkdir -p "${out:=$here/../target/kernel${flavour:+-$flavour}}"
out=$(cd "$out" && pwd)
work=$out/.work src=$out/.work/src obj=$out/.work/obj log=$out/.work/build.log
shopt -s nullglob
patches=("$here"/patches/*.patch)
fragments=("$here/container.config" ${flavour:+"$here/$flavour.config"})

check_requirements() {
  local missing=() tool
  for tool in flex bison bc gcc make patch; do
    command -v "$tool" >/dev/null || missing+=("$tool")
  done
  command -v xz >/dev/null || missing+=(xz-utils)
  [[ -e /usr/include/gelf.h ]] || missing+=(libelf-dev)
  [[ -e $TARBALL ]] || missing+=("$PACKAGE")
  ((${#missing[@]} == 0)) || die "missing packages; run: sudo apt-get install ${missing[*]}"
}

# What the result depends on, as one hash.
inputs() {
  {
    dpkg-query -W "$PACKAGE" gcc binutils
    gcc -dumpfullversion
    # Not the whole script: how one is found, or shown, makes no other kernel.
    declare -f unpack merge configure kernel_make compile install_result
    cat "${fragments[@]}" "${patches[@]}"
  } | sha256sum | cut -d' ' -f1
}

up_to_date() {
  [[ -z $force && -e $out/vmlinux && -e $out/vmlinux.inputs && $(<"$out/vmlinux.inputs") == "$hash" ]]
}

# Passes make's output to the log, and counts what it did on the terminal.
progress() {
  local line count=0 last=$SECONDS start=$SECONDS
  while IFS= read -r line; do
    printf '%s\n' "$line"
    [[ $line =~ ^\ +(CC|AS)\  ]] || continue
    count=$((count + 1))
    if [[ -t 2 ]]; then
      ((count % 5)) || printf '\rkernel: compiling, %d objects, %d s ' "$count" $((SECONDS - start)) >&2
    elif ((SECONDS - last >= INTERVAL)); then
      last=$SECONDS
      say "compiling, $count objects, $((SECONDS - start)) s" >&2
    fi
  done >>"$log"
  [[ ! -t 2 ]] || printf '\r\033[K' >&2
  ((count == 0)) || say "compiled $count objects in $((SECONDS - start)) s" >&2
}

# No word about who builds, when and where; a Rust compiler or pahole would show in the configuration.
kernel_make() {
  make -C "$src" O="$obj" ARCH=x86_64 LC_ALL=C RUSTC=false PAHOLE=false \
    KBUILD_BUILD_USER=container KBUILD_BUILD_HOST=kernel KBUILD_BUILD_VERSION=1 \
    KBUILD_BUILD_TIMESTAMP="$(date -u -r "$TARBALL")" "$@"
}

unpack() {
  local version stamp
  version=$(dpkg-query -W "$PACKAGE")
  stamp=$({ echo "$version"; declare -f unpack; cat "${patches[@]}" /dev/null; } | sha256sum)
  [[ ! -e $src.stamp || $(<"$src.stamp") != "$stamp" ]] || return 0
  say "unpacking $PACKAGE"
  rm -rf "$src" "$src.stamp"
  [[ -e $obj.version && $(<"$obj.version") == "$version" ]] || rm -rf "$obj"
  mkdir -p "$src"
  # Half of the tree is not for us, but Kconfig and make read every file of
  # theirs on their way. Few patterns: tar tries each on each of 92000 names.
  local exclude=() pattern
  for pattern in 'arch/[a-tv-w]*.[chS]' 'arch/*.dts*' 'drivers/[gm][!d]*.[ch]' 'drivers/net/ethernet/*.[ch]' \
    'drivers/net/wireless/*.[ch]' 'drivers/scsi/*/*.[ch]' 'drivers/staging/*.[ch]' 'sound/*.[ch]' 'Documentation/*.*' 'tools/[pt]*.*'; do
    exclude+=(--exclude="$PACKAGE/$pattern")
  done
  xz -T0 -dc "$TARBALL" | tar -x -C "$src" --strip-components=1 "${exclude[@]}"
  local patch
  for patch in "${patches[@]}"; do
    patch -s -d "$src" -p1 <"$patch" || die "$(basename "$patch") does not apply to $PACKAGE"
  done
  # The tarball's dates keep objects valid, but not those of files that were or
  # are patched.
  sed -n 's|^+++ b/||p' "${patches[@]}" /dev/null >>"$work/patched"
  (cd "$src" && sort -u "$work/patched" | xargs -r touch -c)
  printf '%s\n' "$version" >"$obj.version"
  printf '%s\n' "$stamp" >"$src.stamp"
}

# The fragments as one; of several lines about an option the last holds.
merge() {
  awk '
    function keep(name) {
      if (!(name in line)) order[++count] = name
      line[name] = $0
    }
    /^CONFIG_[A-Za-z0-9_]+=/ { split($0, part, "="); keep(part[1]) }
    /^# CONFIG_[A-Za-z0-9_]+ is not set$/ { keep($2) }
    END { for (i = 1; i <= count; i++) print line[order[i]] }' "${fragments[@]}"
}

configure() {
  mkdir -p "$obj"
  say "configuring"
  merge >"$work/fragment"
  kernel_make -s KCONFIG_ALLCONFIG="$work/fragment" allnoconfig >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; die "configuration failed"; }
  # Kconfig drops what a dependency forbids without a word: say it.
  local line name dropped=()
  while IFS= read -r line; do
    case $line in
      CONFIG_*=*) grep -qxF -e "$line" "$obj/.config" || dropped+=("$line") ;;
      '# CONFIG_'*' is not set')
        name=${line#\# }
        ! grep -q "^${name%% *}=" "$obj/.config" || dropped+=("$line")
        ;;
    esac
  done <"$work/fragment"
  ((${#dropped[@]} == 0)) || die "the kernel's Kconfig did not accept:$(printf '\n  %s' "${dropped[@]}")"
}

compile() {
  kernel_make -j"${JOBS:-$(nproc)}" vmlinux 2>&1 | progress ||
    { tail -n 30 "$log" >&2; die "compilation failed; the whole output is in $log"; }
}

install_result() {
  strip -o "$work/vmlinux" "$obj/vmlinux"
  # Note 18 of Xen is the PVH entry point: without it QEMU cannot start an ELF file.
  readelf -nW "$work/vmlinux" 2>/dev/null | grep -Eq 'Xen +0x[0-9a-f]+.*(0x0*12)' ||
    die "the kernel has no PVH entry"
  rm -f "$out/vmlinux.inputs"
  cp "$obj/System.map" "$work/System.map"
  cp "$obj/.config" "$work/config"
  mv "$work/System.map" "$work/config" "$out/"
  mv "$work/vmlinux" "$out/vmlinux"
  printf '%s\n' "$hash" >"$work/vmlinux.inputs"
  mv "$work/vmlinux.inputs" "$out/"
}

# Takes a kernel that was built from the same inputs, if there is one.
take_prebuilt() {
  local file from=$prebuilt/$hash
  [[ -z $force && -d $from ]] || return 1
  for file in vmlinux System.map config; do
    [[ -f $from/$file && -O $from/$file ]] || return 1
  done
  rm -f "$out/vmlinux.inputs"
  for file in System.map config vmlinux; do
    cp "$from/$file" "$work/$file"
    mv "$work/$file" "$out/$file"
  done
  printf '%s\n' "$hash" >"$out/vmlinux.inputs"
}

# Leaves a copy for the next clone. Where that does not work the kernel is built again.
leave_copy() {
  local new
  mkdir -p "$prebuilt" 2>/dev/null && new=$(mktemp -d "$prebuilt/.new.XXXXXX" 2>/dev/null) || return 0
  if cp "$out/vmlinux" "$out/System.map" "$out/config" "$new"; then
    rm -rf "${prebuilt:?}/$hash"
    mv "$new" "$prebuilt/$hash" || rm -rf "$new"
  else
    rm -rf "$new"
  fi
}

check_requirements
hash=$(inputs)
[[ -z $print ]] || { echo "$hash"; exit; }
prebuilt=${CONTAINER_KERNELS:-${XDG_CACHE_HOME:-$HOME/.cache}/container/kernels}
if up_to_date; then
  say "up to date: $out/vmlinux"
  exit
fi

mkdir -p "$work"
exec 9>"$out/.lock"
if ! flock -n 9; then
  say "another build is running here, waiting for it"
  flock 9
  if up_to_date; then
    say "up to date: $out/vmlinux"
    exit
  fi
fi
[[ -z $force ]] || rm -rf "$work"
mkdir -p "$work"
if take_prebuilt; then
  say "taken from $prebuilt/$hash"
  exit
fi
unpack
configure
compile
install_result
leave_copy
say "built $out/vmlinux ($(du -h "$out/vmlinux" | cut -f1)) in $((SECONDS / 60)) min $((SECONDS % 60)) s"
