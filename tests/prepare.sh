#!/bin/sh
# Prepares a Debian machine for the tests: packages, the range of ids for unprivileged containers, the template, and
# an end to what tests left that were killed. Doing it twice is doing it once. With --afterwards, only that end.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}

# The last mount first, for one may lie in another.
unmount_below() {
    cut -d ' ' -f 2 /proc/self/mounts | grep "^$1/" | tac | while read -r mounted; do
        umount --lazy "$mounted"
    done
}

# A world is phoenix-nvidia-test-PID-*; one whose process is gone has been left by a killed test.
remove_left_worlds() {
    for world in "$(sh "$here/tests/directory.sh")"/phoenix-nvidia-test-* /var/tmp/phoenix-nvidia-test-*; do
        [ -d "$world" ] || continue
        process=${world##*/phoenix-nvidia-test-}
        process=${process%%-*}
        [ ! -d "/proc/$process" ] || continue
        for container in "$world"/lxc/*/config; do
            [ -e "$container" ] || continue
            name=$(basename "$(dirname "$container")")
            lxc-stop --lxcpath "$world/lxc" --name "$name" --kill > /dev/null 2>&1 || true
        done
        unmount_below "$world"
        rm -rf --one-file-system "$world"
    done
    # Locks of liblxc, in directories that are named after worlds.
    for locks in /run/lxc/lock/dev/shm/phoenix-nvidia-test-* /run/lxc/lock/var/tmp/phoenix-nvidia-test-*; do
        [ -e "${locks#/run/lxc/lock}" ] || rm -rf "$locks"
    done
}

# The empty cgroups that liblxc (5.0.2) leaves of a container's monitor, in every hierarchy. Not while tests run: another
# container of the same name may be about to start in one. Those in use cannot be removed.
remove_empty_cgroups() {
    find /sys/fs/cgroup -maxdepth 3 -depth -type d \( -name 'lxc.monitor.*' -o -name 'lxc.payload.*' \) \
        -exec rmdir {} + 2> /dev/null || true
}

if [ "${1:-}" = --afterwards ]; then
    remove_left_worlds
    remove_empty_cgroups
    exit 0
fi
[ "$(id -u)" = 0 ] || { echo "prepare.sh: containers are made only by root" >&2; exit 1; }
sh "$here/demo/packages.sh" bzip2 rsync strace e2fsprogs xfsprogs btrfs-progs chromium
sh "$here/demo/id_ranges.sh"
remove_left_worlds
sh "$here/demo/template.sh" "$target/test-template/debian.tar.zst" small
