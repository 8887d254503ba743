#!/bin/sh
# Fetches NVIDIA's real user-space driver as Debian packages it: debian-driver.sh DIR [BRANCH]
#
# Unpacks the libraries and nvidia-smi of Debian 12's non-free into DIR and prints their version on standard output.
# BRANCH is `current` (535 as of 2025) or a data-centre branch such as `tesla-470`. Nothing is installed, and apt's
# own lists and sources stay as they are; apt verifies what it downloads.
set -eu

directory=$1
branch=${2:-current}
mirror=$(sh "$(dirname "$0")/mirror.sh")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

case $branch in
    current) packages="nvidia-smi libnvidia-ml1 libcuda1 libnvidia-ptxjitcompiler1 libnvcuvid1 libnvidia-encode1
        libnvidia-cfg1 nvidia-opencl-icd libnvidia-opticalflow1" ;;
    tesla-*) packages="nvidia-$branch-smi libnvidia-$branch-ml1 libnvidia-$branch-cuda1
        libnvidia-$branch-ptxjitcompiler1" ;;
    *) echo "debian-driver.sh: $branch is no branch that Debian packages" >&2; exit 2 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# apt's helper is another user and has to reach its downloads.
chmod 0755 "$work"
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/debs" "$directory"
for suite in bookworm bookworm-updates; do
    echo "deb [signed-by=$keyring] $mirror $suite non-free"
done > "$work/sources.list"

apt_own() {
    program=$1
    shift
    "$program" --quiet=2 -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::Archives="$work/archives" \
        -o APT::Sandbox::User=root "$@"
}

apt_own apt-get update >&2
# shellcheck disable=SC2086
(cd "$work/debs" && apt_own apt-get download $packages >&2)
for deb in "$work"/debs/*.deb; do
    dpkg-deb --extract "$deb" "$directory"
done

library=$(find "$directory" -name 'libnvidia-ml.so.*.*' -type f | head -n 1)
[ -n "$library" ] || { echo "debian-driver.sh: the packages hold no libnvidia-ml.so" >&2; exit 1; }
echo "${library##*/libnvidia-ml.so.}"
