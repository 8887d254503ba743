#!/bin/sh
# Makes the archive for every other Linux: archive.sh BINARY DIRECTORY
#
# DIRECTORY gets phoenix-nvidia-VERSION-MACHINE.tar.xz, which holds one directory to be unpacked over /usr/local.
set -eu
umask 022

binary=$1
directory=$2
here=$(cd "$(dirname "$0")/.." && pwd)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$here" log -1 --format=%ct)}
name=phoenix-nvidia-$("$binary" --version | cut -d ' ' -f 2)-$(uname -m)

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
sh "$here/packaging/stage.sh" "$binary" "$stage" usr/local
mv "$stage/usr/local" "$stage/$name"
mkdir -p "$directory"
# One thread: what xz writes must not follow the number of cores.
tar --directory "$stage" --sort=name --format=gnu --owner=0 --group=0 --numeric-owner \
    --mtime="@$SOURCE_DATE_EPOCH" --create "$name" | xz --threads=1 > "$directory/$name.tar.xz"
echo "$directory/$name.tar.xz"
