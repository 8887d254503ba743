#!/bin/sh
# Runs `make test` in another release of Debian: in_release.sh SUITE
#
# The root file system, with the packages and what is built there, is kept for 14 days in cargo's target directory; the
# work tree is seen there as it is. Needs root, and mmdebstrap.
set -eu

suite=$1
here=$(cd "$(dirname "$0")/.." && pwd)
root=${CARGO_TARGET_DIR:-$here/target}/debian-$suite

[ "$(id -u)" = 0 ] || { echo "in_release.sh: root file systems are made by root" >&2; exit 1; }
# There once it is whole.
if [ ! -e "$root/made" ] || [ -z "$(find "$root/made" -mtime -14)" ]; then
    rm -rf --one-file-system "$root"
    mkdir -p "$root"
    sh "$here/tests/debian_root.sh" "$root" "$suite"
    touch "$root/made"
fi
sh "$here/tests/enter.sh" "$root" --bind "$here" /root/phoenix-nvidia \
    env CARGO_TARGET_DIR=/root/target make -C phoenix-nvidia test
