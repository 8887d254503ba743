#!/bin/sh
# Makes the mount namespace of a pretended GPU host from the files in the directory $1, and holds it until its
# standard input ends.
directory=$1

# A container with a user namespace may mount its /proc, or its /sys, only where a whole one is in sight.
mkdir "$directory/proc" "$directory/sys"
mount -t proc proc "$directory/proc"
mount -t sysfs sysfs "$directory/sys"

mount -t tmpfs -o mode=0755 tmpfs /proc/driver
cp -r "$directory"/driver/* /proc/driver/
mount --bind "$directory/devices" /proc/devices

mkdir "$directory/dev"
mount -t tmpfs -o mode=0755 tmpfs "$directory/dev"
for node in /dev/*; do
    case ${node#/dev/} in
        nvidia* | dri | pts | shm | mqueue | hugepages) ;;
        *) cp -a "$node" "$directory/dev/" ;;
    esac
done
for mounted in pts shm; do
    mkdir "$directory/dev/$mounted"
    mount --bind "/dev/$mounted" "$directory/dev/$mounted"
done
while read -r name major minor mode; do
    mknod "$directory/dev/$name" c "$major" "$minor"
    chmod "$mode" "$directory/dev/$name"
done < "$directory/nodes"
mount --rbind "$directory/dev" /dev
umount --recursive --lazy "$directory/dev"

echo ready
exec > /dev/null
read -r _ || exit 0
