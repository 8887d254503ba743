#!/bin/sh
# Makes a container template: template.sh FILE [small|systemd|podman]
#
# FILE (.tar.zst) becomes a minimal Debian of the release that suite.sh says, with what NVIDIA's installer wants,
# about 53 MB; with `small` one without apt and without documentation, for tests that unpack it often; with `systemd` a
# small host: systemd, which boots in a container, and LXC with its units; with `podman` one with Podman, for containers
# in a container. A FILE younger than 14 days is kept.
set -eu

file=$1
kind=${2:-minbase}
mirror=$(sh "$(dirname "$0")/mirror.sh")
suite=$(sh "$(dirname "$0")/suite.sh")

if [ -s "$file" ] && [ -n "$(find "$file" -mtime -14)" ]; then
    echo "template: $file is there"
    exit 0
fi
mkdir -p "$(dirname "$file")"
# Under another name until it is whole.
partial=$file.partial.$$.tar.zst
trap 'rm -f "$partial"' EXIT

case $kind in
    minbase) mmdebstrap --quiet --variant=minbase --include=kmod "$suite" "$partial" "$mirror" ;;
    small)
        mmdebstrap --quiet --variant=essential --include=kmod \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
            "$suite" "$partial" "$mirror" ;;
    systemd)
        mmdebstrap --quiet --variant=essential --include=systemd,systemd-sysv,dbus,lxc,kmod,zstd \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
            "$suite" "$partial" "$mirror" ;;
    podman)
        mmdebstrap --quiet --variant=essential --include=podman,runc,ca-certificates,kmod \
            --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
            --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
            "$suite" "$partial" "$mirror" ;;
    *) echo "template.sh: $kind is no kind of template" >&2; exit 2 ;;
esac
mv "$partial" "$file"
echo "template: $file is new"
