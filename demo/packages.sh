#!/bin/sh
# Installs the Debian packages that the demonstration needs and that are not there: packages.sh [PACKAGE...]
#
# The tests name what they need beside these. What is installed is said first.
set -eu

missing=
for package in gcc libc6-dev binutils erofs-utils squashfs-tools lxc mmdebstrap uidmap zstd xz-utils kmod \
    util-linux "$@"; do
    dpkg-query --show --showformat='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

echo "packages: apt-get installs$missing"
export DEBIAN_FRONTEND=noninteractive
# Old lists name packages that are gone.
[ -n "$(find /var/lib/apt/lists -name '*Packages*' -mtime -1 -print -quit)" ] || apt-get update
# Without recommendations: containers here need no bridge and its services.
# shellcheck disable=SC2086
apt-get install --yes --no-install-recommends $missing
