#!/bin/sh
# Installs the Debian packages that tests and demonstration need and that are not there.
set -eu

missing=
for package in gcc libc6-dev make binutils erofs-utils squashfs-tools lxc mmdebstrap uidmap zstd xz-utils bzip2 kmod rsync util-linux strace e2fsprogs xfsprogs btrfs-progs; do
    dpkg-query --show --showformat='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' ||
        missing="$missing $package"
done
[ -n "$missing" ] || exit 0

export DEBIAN_FRONTEND=noninteractive
# Old lists name packages that are gone.
[ -n "$(find /var/lib/apt/lists -name '*Packages*' -mtime -1 -print -quit)" ] || apt-get update
# Without recommendations: containers here need no bridge and its services.
# shellcheck disable=SC2086
apt-get install --yes --no-install-recommends $missing
