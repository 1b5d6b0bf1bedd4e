#!/usr/bin/env bash
# Runs the fuzz targets of fuzz/, each for FUZZ_SECONDS (60). `fuzz.sh build` only builds them; `fuzz.sh TARGET...` runs some.
#
# It needs no nightly compiler: the counters that guide libFuzzer are a pass of LLVM, which stable rustc runs when told to.
# What is left out is the address sanitizer; overflows and debug assertions are checked. What was found lies in
# target/fuzz/findings, what was learned in target/fuzz/corpus.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${FUZZ_SECONDS:-60}
out=$PWD/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
all=(hello channel qmp bundle oci_config log document reference flags image layer unpack builder kernel)

flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 --cfg fuzzing)
RUSTFLAGS="${flags[*]}" CARGO_TARGET_DIR=$out cargo build --quiet --release --locked --manifest-path fuzz/Cargo.toml --target "$host"
[ "${1:-}" != build ] || exit 0

# seed TARGET NAME FORMAT: what a run begins with.
seed() {
    mkdir -p "$out/seeds/$1"
    # shellcheck disable=SC2059 # the formats are those below
    printf "$3" >"$out/seeds/$1/$2"
}
seed hello whole 'CONTAINER-GUEST 1 {"pid1_ns":5,"channel_open_ns":7}\nPRI'
seed hello other 'CONTAINER-GUEST 2 {}\n'
seed channel answer '\0\0\1\1\4\0\0\0\1\210\0\0\5\0\0\0\0\0\1\0\0\0\0\0'
seed channel ping '\0\0\10\6\0\0\0\0\0\1\2\3\4\5\6\7\10'
seed channel trailers '\0\0\20\1\5\0\0\0\1\210\0\13grpc-status\1\065'
seed qmp refused '{"QMP":{"version":{}}}\r\n{"return":{}}\r\n{"error":{"class":"GenericError","desc":"no"}}\r\n'
seed qmp event '{"QMP":{}}\n{"return":{}}\n{"event":"STOP","data":{"a":1}}\n{"return":{"running":false}}\n'
seed bundle exit '{"exitCode":3,"exited":"2026-01-01T00:00:00Z","reason":"x"}'
seed bundle boot '{"kernel":"/k","initramfs":"/i","root":{"extents":[{"path":"/l","offset":0,"length":512}],"size":512},"cache":"/c","requestedUs":1}'
seed bundle options '{"autoRemove":true}'
seed bundle timeline '{"phases":[{"name":"a","atUs":1}]}'
seed bundle config '{"id":"a","image":{"reference":"b","descriptor":{"mediaType":"m","digest":"d","size":1},"manifestDigest":"d"},"initProcess":{"executable":"sh","arguments":[],"environment":[],"workingDirectory":"/","terminal":false,"user":{"id":{"uid":0,"gid":0}}},"platform":{"os":"linux","architecture":"amd64"},"resources":{"cpus":1,"memoryInBytes":1},"runtimeHandler":"r","creationDate":"2026-01-01T00:00:00Z"}'
seed bundle toml '[container]\ncpus = 2\nmemory = "1gb"\n[registry]\ndomain = "localhost"\n'
seed oci_config usual '{"ociVersion":"1.0.2","root":{"path":"rootfs"},"process":{"args":["sh"],"cwd":"/","user":{"uid":1,"gid":2}},"mounts":[{"destination":"/a","type":"bind","source":"b","options":["rbind","ro"]}],"linux":{"namespaces":[{"type":"pid"},{"type":"network"},{"type":"ipc"},{"type":"uts"},{"type":"mount"}],"resources":{"memory":{"limit":1},"cpu":{"quota":1}}}}'
seed log records '2026-01-01T00:00:00Z stdout F a\n2026-01-01T00:00:00Z stderr P b\n'
seed reference name 'localhost:5000/a/b:c@sha256:0000000000000000000000000000000000000000000000000000000000000000'
seed flags port '127.0.0.1:8080-8090:80-90/tcp'
seed flags network 'default,ip=10.0.0.2,mac=02:00:00:00:00:01,alias=a,egress=allow=[2001:db8::/32]:443'
seed flags mount 'type=bind,source=/a,target=/b,readonly,size=1g,mode=1777'
seed flags short './a:/b:ro,z'
seed kernel elf '\177ELF\2\1\1\0\0\0\0\0\0\0\0\0\2\0\76\0'
seed builder vertex '\14\0\12\12\12\1a\32\5RUN a'
seed document manifest '{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"m","digest":"d","size":1},"layers":[]}'
mkdir -p "$out/seeds/unpack"
tar -c --format=pax --sort=name fuzz/targets >"$out/seeds/unpack/tree"

[ $# -gt 0 ] || set -- "${all[@]}"
for target in "$@"; do
    mkdir -p "$out/corpus/$target" "$out/seeds/$target" "$out/findings"
    echo "fuzzing $target for $seconds s"
    log=$out/$target.log
    if ! "$out/$host/release/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=1024 -max_len=65536 \
        -artifact_prefix="$out/findings/$target-" "$out/corpus/$target" "$out/seeds/$target" >"$log" 2>&1; then
        tail -n 60 "$log"
        exit 1
    fi
    grep -h '^Done' "$log"
done
