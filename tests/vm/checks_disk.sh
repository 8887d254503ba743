#!/bin/sh
# Makes the second disk of the virtual machine, `checks.img`: checks_disk.sh PROGRAMS DIRECTORY
#
# On it are the package, run files of small drivers, the template of containers, and the checks themselves. PROGRAMS is
# where cargo has put what it built; DIRECTORY has what image.sh made.
set -eu

programs=$1
directory=$2
here=$(cd "$(dirname "$0")" && pwd)
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

cp "$here"/guest/* "$here/plan" "$directory"/template*.tar.zst "$directory/versions" "$stage"
sh "$here/../../packaging/deb.sh" "$programs/phoenix-nvidia" "$stage"
for version in $(cat "$directory/versions"); do
    "$programs/examples/make_test_driver" "$version" "$stage"
done
rm -f "$directory/checks.img"
mke2fs -q -t ext4 -L checks -d "$stage" "$directory/checks.img" 512M
