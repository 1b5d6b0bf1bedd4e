#!/usr/bin/env bash
# Packages of what `make build` has built.
set -euo pipefail

usage() {
    cat <<'TXT'
usage: package.sh deb|tar OUT [VERSION]

Writes a Debian package, or an archive with install.sh for other distributions, into the directory OUT, and prints its
name. The same programs and the same commit give the same bytes.
TXT
}

case ${1:-} in
    deb | tar) kind=$1 ;;
    *) usage; [[ ${1:-} == -h || ${1:-} == --help ]]; exit ;;
esac
[ $# -ge 2 ] || { usage >&2; exit 64; }
mkdir -p "$2"
out=$(cd "$2" && pwd)
cd "$(dirname "$0")/.."
version=${3:-$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)}
# Everything has the time of the commit (reproducible-builds.org, SOURCE_DATE_EPOCH).
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
umask 022
work=$(mktemp -d)
trap 'rm -rf --one-file-system "$work"' EXIT

settle() {
    find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

if [ "$kind" = tar ]; then
    name=container-$version-linux-x86_64
    root=$work/$name
    # The units get their prefix from install.sh.
    make --no-print-directory -s install FROM_STAGE=1 DESTDIR="$root/" PREFIX=prefix UNIT_PREFIX=@PREFIX@
    install -D -m 0644 packaging/config.toml "$root/prefix/etc/container/config.toml"
    install -m 0755 packaging/tarball/install.sh "$root/install.sh"
    install -m 0644 LICENSE README.md SECURITY.md CHANGELOG.md docs/plugins.md "$root/"
    cp -r proto examples "$root/"
    find "$root" -name __pycache__ -prune -exec rm -r {} +
    chmod -R u=rwX,go=rX "$root/proto" "$root/examples"
    scripts/sbom.py "$version" >"$root/sbom.cdx.json"
    settle "$root"
    tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --format=gnu -cf - "$name" | gzip -9n >"$out/$name.tar.gz"
    echo "$out/$name.tar.gz"
    exit 0
fi

root=$work/root
doc=$root/usr/share/doc/container
make --no-print-directory -s install FROM_STAGE=1 DESTDIR="$root" PREFIX=/usr
install -D -m 0644 packaging/config.toml "$root/etc/container/config.toml"
install -d "$doc"
install -m 0644 README.md SECURITY.md docs/plugins.md "$doc/"
# What a program of somebody else is made from.
cp -r proto examples "$doc/"
find "$doc" -name __pycache__ -prune -exec rm -r {} +
chmod -R u=rwX,go=rX "$doc"
install -m 0644 packaging/debian/copyright "$doc/copyright"
gzip -9nc CHANGELOG.md >"$doc/changelog.gz"
scripts/sbom.py "$version" >"$doc/sbom.cdx.json"
find "$root/usr/share/man" -type f -exec gzip -9n {} +
install -d "$root/DEBIAN"
sed -e "s|@VERSION@|$version|" -e "s|@SIZE@|$(du -sk --apparent-size "$root" | cut -f1)|" packaging/debian/control >"$root/DEBIAN/control"
install -m 0644 packaging/debian/conffiles "$root/DEBIAN/"
install -m 0755 packaging/debian/{postinst,prerm,postrm} "$root/DEBIAN/"
(cd "$root" && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
settle "$root"
dpkg-deb --root-owner-group -Zxz --build "$root" "$out/container_${version}_amd64.deb" >/dev/null
echo "$out/container_${version}_amd64.deb"
