#!/bin/sh
# Runs a command in another root file system as on a machine of its own: enter.sh ROOT [--bind FROM TO]... COMMAND...
#
# A chroot will not do: in one, the kernel lets nobody make a user namespace. So ROOT becomes the root of a mount
# namespace by pivot_root, with its own processes, /run and /dev/shm; devices, /sys and the network are this machine's,
# and so is the Rust toolchain, read-only in /opt/rust. Nothing that is mounted is seen outside, or left.
set -eu

if [ "$1" != --in-namespaces ]; then
    [ "$(id -u)" = 0 ] || { echo "enter.sh: another root is entered only by root" >&2; exit 1; }
    exec unshare --mount --pid --ipc --uts --fork --kill-child --propagation private sh "$0" --in-namespaces "$@"
fi
shift
root=$1
shift

# A mount point, so that it can be pivoted to.
mount --bind "$root" "$root"
mkdir -p "$root/opt/rust" "$root/mnt/before"
mount --bind -o ro "$(rustc --print sysroot)" "$root/opt/rust"
# How this machine reaches others: it may stand behind a proxy with an authority of its own.
touch "$root/opt/authorities.pem"
cp --remove-destination /etc/resolv.conf "$root/etc/resolv.conf"
mount --bind -o ro /etc/ssl/certs/ca-certificates.crt "$root/opt/authorities.pem"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 shm "$root/dev/shm"
mount -t tmpfs -o mode=0755 run "$root/run"
while [ "${1:-}" = --bind ]; do
    mkdir -p "$root$3"
    mount --bind "$2" "$root$3"
    shift 3
done

cd "$root"
pivot_root . mnt/before
# `exit` keeps the shell: as the first process it has to reap what others leave.
# shellcheck disable=SC2016
exec chroot . /bin/sh -c 'umount --lazy /mnt/before && cd && "$@"; exit $?' sh \
    env -i HOME=/root TERM="${TERM:-dumb}" LANG=C.UTF-8 PATH=/opt/rust/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    CARGO_HTTP_CAINFO=/opt/authorities.pem ${http_proxy:+http_proxy="$http_proxy"} ${https_proxy:+https_proxy="$https_proxy"} \
    ${CARGO_BUILD_JOBS:+CARGO_BUILD_JOBS="$CARGO_BUILD_JOBS"} "$@"
