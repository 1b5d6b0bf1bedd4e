#!/usr/bin/env bash
# Makes an OCI image archive named busybox from Debian's busybox-static: the image of the README's tour and of
# the tests. Reproducible: the same busybox gives the same bytes.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: busybox.sh OUT.tar [REFERENCE]

Writes an OCI archive (image-spec, image-layout.md) with one layer to OUT.tar.
REFERENCE is the image's name, docker.io/library/busybox:latest by default.
TXT
}

case ${1:-} in
    '' | -h | --help) usage; [ -n "${1:-}" ]; exit ;;
esac
out=$1
reference=${2:-docker.io/library/busybox:latest}
busybox=$(command -v busybox || true)
if [ -z "$busybox" ] || ! "$busybox" true; then
    echo "busybox.sh: no busybox found; apt-get install busybox-static" >&2
    exit 1
fi

work=$(mktemp -d "${TMPDIR:-/tmp}/busybox-image.XXXXXX")
trap 'rm -rf "$work"' EXIT
root=$work/root layout=$work/layout
mkdir -p "$root"/{bin,dev,etc,home,lib,proc,root,run,sys,tmp,usr/bin,usr/sbin,sbin,var/log} "$layout/blobs/sha256"
chmod 1777 "$root/tmp"
chmod 0700 "$root/root"
cp "$busybox" "$root/bin/busybox"
chmod 0755 "$root/bin/busybox"
for applet in $("$busybox" --list); do
    [ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
done
cat >"$root/etc/passwd" <<'TXT'
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
TXT
cat >"$root/etc/group" <<'TXT'
root:x:0:
daemon:x:1:
audio:x:29:www-data
www-data:x:33:
users:x:100:www-data
nogroup:x:65534:
TXT

reproducible=(--sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --format=posix
    --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime)

# Puts the file $1 among the blobs; prints its digest in hexadecimal.
blob() {
    local digest
    digest=$(sha256sum "$1" | cut -d' ' -f1)
    mv "$1" "$layout/blobs/sha256/$digest"
    echo "$digest"
}
size() { stat -c %s "$layout/blobs/sha256/$1"; }

tar "${reproducible[@]}" -C "$root" -cf "$work/layer.tar" .
diff_id=$(sha256sum "$work/layer.tar" | cut -d' ' -f1)
gzip -n -6 "$work/layer.tar"
layer=$(blob "$work/layer.tar.gz")
case $(uname -m) in
    x86_64) architecture=amd64 ;;
    aarch64) architecture=arm64 ;;
    *) architecture=$(uname -m) ;;
esac

printf '%s' "{\"created\":\"1970-01-01T00:00:00Z\",\"architecture\":\"$architecture\",\"os\":\"linux\",\"config\":{\"Env\":[\"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\"],\"Cmd\":[\"sh\"]},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:$diff_id\"]},\"history\":[{\"created\":\"1970-01-01T00:00:00Z\",\"created_by\":\"busybox-static\"}]}" >"$work/config"
config=$(blob "$work/config")
printf '%s' "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:$config\",\"size\":$(size "$config")},\"layers\":[{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:$layer\",\"size\":$(size "$layer")}]}" >"$work/manifest"
manifest=$(blob "$work/manifest")
printf '%s' '{"imageLayoutVersion":"1.0.0"}' >"$layout/oci-layout"
printf '%s' "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"sha256:$manifest\",\"size\":$(size "$manifest"),\"platform\":{\"os\":\"linux\",\"architecture\":\"$architecture\"},\"annotations\":{\"org.opencontainers.image.ref.name\":\"$reference\"}}]}" >"$layout/index.json"
tar "${reproducible[@]}" -C "$layout" -cf "$work/out.tar" .
mv "$work/out.tar" "$out"
