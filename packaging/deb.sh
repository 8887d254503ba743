#!/bin/sh
# Makes the Debian package: deb.sh BINARY DIRECTORY
#
# BINARY is a built phoenix-nvidia; DIRECTORY gets phoenix-nvidia_VERSION_ARCHITECTURE.deb. Manual pages and completions
# are written by BINARY itself. The package owns nothing below /usr/local, /etc or /var: the operators' files are theirs.
set -eu
umask 022

binary=$1
directory=$2
here=$(cd "$(dirname "$0")/.." && pwd)
version=$("$binary" --version | cut -d ' ' -f 2)
architecture=$(dpkg --print-architecture)
# The same sources make the same package.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct 2> /dev/null || date +%s)}
export SOURCE_DATE_EPOCH

stage=$(mktemp -d)
chmod 755 "$stage"
trap 'rm -rf "$stage"' EXIT
documents=$stage/usr/share/doc/phoenix-nvidia

put() { # MODE FILE DIRECTORY
    install -D -m "$1" "$2" "$stage/$3/$(basename "$2")"
}

stage_program() {
    put 755 "$binary" usr/bin
    strip --strip-unneeded "$stage/usr/bin/phoenix-nvidia"
    for unit in "$here"/etc/systemd/*; do
        put 644 "$unit" usr/lib/systemd/system
    done
    sed -i 's,/usr/local/bin/phoenix-nvidia,/usr/bin/phoenix-nvidia,' "$stage"/usr/lib/systemd/system/*
}

stage_documents() {
    mkdir -p "$stage/usr/share/man/man1"
    "$binary" man "$stage/usr/share/man/man1"
    gzip --best --no-name "$stage"/usr/share/man/man1/*
    put 644 "$here/README.md" usr/share/doc/phoenix-nvidia
    for document in "$here"/docs/*.md; do
        put 644 "$document" usr/share/doc/phoenix-nvidia/docs
    done
    for example in "$here"/etc/*.json; do
        put 644 "$example" usr/share/doc/phoenix-nvidia/examples
    done
    for schema in "$here"/etc/schema/*.json; do
        put 644 "$schema" usr/share/doc/phoenix-nvidia/examples/schema
    done
    gzip --best --no-name --stdout "$here/CHANGELOG.md" > "$documents/CHANGELOG.md.gz"
    debian_changelog | gzip --best --no-name > "$documents/changelog.gz"
    put 644 "$here/packaging/copyright" usr/share/doc/phoenix-nvidia
    install -D -m 644 "$here/packaging/lintian-overrides" "$stage/usr/share/lintian/overrides/phoenix-nvidia"
}

debian_changelog() {
    maintainer=$(sed -n 's/^Maintainer: //p' "$here/packaging/control")
    printf 'phoenix-nvidia (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.gz.\n\n' "$version"
    printf ' -- %s  %s\n' "$maintainer" "$(LC_ALL=C date --utc --date="@$SOURCE_DATE_EPOCH" '+%a, %d %b %Y %H:%M:%S +0000')"
}

stage_completions() {
    while read -r shell place; do
        mkdir -p "$(dirname "$stage/usr/share/$place")"
        "$binary" completions "$shell" > "$stage/usr/share/$place"
    done << END
bash bash-completion/completions/phoenix-nvidia
zsh zsh/vendor-completions/_phoenix-nvidia
fish fish/vendor_completions.d/phoenix-nvidia.fish
END
}

stage_control() {
    mkdir "$stage/DEBIAN"
    size=$(du --apparent-size -sk "$stage/usr" | cut -f 1)
    sed -e "s/@VERSION@/$version/" -e "s/@ARCHITECTURE@/$architecture/" -e "s/@SIZE@/$size/" \
        "$here/packaging/control" > "$stage/DEBIAN/control"
    for script in postinst prerm postrm; do
        install -m 755 "$here/packaging/$script" "$stage/DEBIAN/$script"
    done
    (cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) > "$stage/DEBIAN/md5sums"
    chmod 644 "$stage/DEBIAN/control" "$stage/DEBIAN/md5sums"
}

stage_program
stage_documents
stage_completions
stage_control
find "$stage" -newermt "@$SOURCE_DATE_EPOCH" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
mkdir -p "$directory"
package=$directory/phoenix-nvidia_${version}_$architecture.deb
# xz, for dpkg of every release reads it; tests take `none`.
dpkg-deb --root-owner-group "-Z${COMPRESSION:-xz}" --build "$stage" "$package" > /dev/null
echo "$package"
