#!/bin/sh
# Makes the Debian package: deb.sh BINARY DIRECTORY
#
# BINARY is a built phoenix-nvidia; DIRECTORY gets phoenix-nvidia_VERSION_ARCHITECTURE.deb. The package owns nothing below
# /usr/local, /etc or /var: the operators' files are theirs. PACKAGE_VERSION is another version than BINARY's own.
set -eu
umask 022

binary=$1
directory=$2
here=$(cd "$(dirname "$0")/.." && pwd)
version=${PACKAGE_VERSION:-$("$binary" --version | cut -d ' ' -f 2)}
architecture=$(dpkg --print-architecture)
# The same sources make the same package, whether they are a clone or an archive.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2> /dev/null ||
    date --reference="$here/CHANGELOG.md" +%s)}
export SOURCE_DATE_EPOCH

# Debian's own variables, else who made the commit that is packed.
if [ -n "${DEBEMAIL:-}" ]; then
    maintainer="${DEBFULLNAME:-phoenix-nvidia} <$DEBEMAIL>"
else
    maintainer=$(git -C "$here" log -1 --format='%cn <%ce>' 2> /dev/null || echo "root <root@$(hostname)>")
fi

glibc=$(sh "$here/packaging/needed_glibc.sh" "$binary")
stage=$(mktemp -d)
chmod 755 "$stage"
trap 'rm -rf "$stage"' EXIT

stage_debian_files() {
    debian_changelog | gzip --best --no-name > "$stage/usr/share/doc/phoenix-nvidia/changelog.gz"
    install -D -m 644 "$here/packaging/lintian-overrides" "$stage/usr/share/lintian/overrides/phoenix-nvidia"
}

debian_changelog() {
    printf 'phoenix-nvidia (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')"
}

stage_control() {
    mkdir "$stage/DEBIAN"
    size=$(du --apparent-size -sk "$stage/usr" | cut -f 1)
    sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
        -e "s/@MAINTAINER@/$maintainer/" -e "s/@GLIBC@/$glibc/" \
        "$here/packaging/control" > "$stage/DEBIAN/control"
    for script in postinst prerm postrm; do
        install -m 755 "$here/packaging/$script" "$stage/DEBIAN/$script"
    done
    (cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$stage/DEBIAN/md5sums"
    chmod 644 "$stage/DEBIAN/control" "$stage/DEBIAN/md5sums"
}

sh "$here/packaging/stage.sh" "$binary" "$stage" usr
stage_debian_files
stage_control
find "$stage" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$directory"
package=$directory/phoenix-nvidia_${version}_$architecture.deb
# xz, for dpkg of every release reads it; tests take `none`.
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$stage" "$package" > /dev/null
echo "$package"
