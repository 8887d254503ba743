#!/bin/sh
# Prints where tests make their containers: in memory where there is room, else on the disk.
#
# Hundreds of rootfs are unpacked and removed. On ext4 without a journal that takes ten times as long (kernel 6.18).
set -eu

memory=/dev/shm
room() { df --output=avail --block-size=1M "$memory" 2> /dev/null | tail -n 1; }
runs() { ! grep -q "^[^ ]* $memory [^ ]* [^ ]*noexec" /proc/mounts; }

if [ -n "${PHOENIX_NVIDIA_TEST_DIRECTORY:-}" ]; then
    echo "$PHOENIX_NVIDIA_TEST_DIRECTORY"
elif [ -d "$memory" ] && [ "$(room)" -ge 4096 ] && runs; then
    echo "$memory"
else
    echo /var/tmp
fi
