#!/bin/sh
# Makes the system that the virtual machine boots: image.sh DIRECTORY
#
# DIRECTORY gets `vmlinuz`, `initrd.img`, `root.img` (ext4), `template.tar.zst` and `template-systemd.tar.zst`, from which
# the containers in it are made, and `versions`: of the stand-in kernel modules that lie in it. All of it is Debian 13.
# What is there and younger than 14 days is kept while this file and the modules are the same.
set -eu

directory=$1
here=$(cd "$(dirname "$0")" && pwd)
suite=trixie
versions='580.76.05 570.133.20'
mirror=$(sh "$(dirname "$0")/../../demo/mirror.sh")

build_modules() { # ROOT
    kernel=$(ls "$1/lib/modules")
    for version in $versions; do
        mkdir -p "$1/usr/src/stand-in/$version"
        cp "$here"/module/* "$1/usr/src/stand-in/$version"
        chroot "$1" make -C "/lib/modules/$kernel/build" "M=/usr/src/stand-in/$version" \
            "STAND_IN_VERSION=$version" modules
    done
    # The first one is that of this host; another is installed over it as an upgrade would.
    mkdir -p "$1/lib/modules/$kernel/updates"
    cp "$1/usr/src/stand-in/${versions%% *}"/*.ko "$1/lib/modules/$kernel/updates"
    chroot "$1" depmod "$kernel"
}

configure() { # ROOT
    printf '%s\n' '/dev/vda / ext4 defaults 0 1' '/dev/vdb /checks ext4 ro 0 0' > "$1/etc/fstab"
    mkdir "$1/checks"
    echo virtual-machine > "$1/etc/hostname"
    for file in subuid subgid; do
        echo root:100000:65536 >> "$1/etc/$file"
    done
    cp "$here/checks.service" "$1/etc/systemd/system"
    ln -s /etc/systemd/system/checks.service "$1/etc/systemd/system/multi-user.target.wants/"
    echo USE_LXC_BRIDGE=false > "$1/etc/default/lxc-net"
    # What is left out of this system is not left out of packages that are installed in it later.
    rm -f "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"
    # Nobody logs in.
    for unit in getty@tty1 serial-getty@ttyS0 serial-getty@ttyS1; do
        ln -s /dev/null "$1/etc/systemd/system/$unit.service"
    done
}

# With the modules of this machine alone: an emulated one takes half a minute to unpack all of them.
make_initial_root() { # ROOT
    printf '%s\n' virtio_pci virtio_blk ext4 >> "$1/etc/initramfs-tools/modules"
    chroot "$1" update-initramfs -u
}

make_template() { # FILE PACKAGES
    mmdebstrap --quiet --variant=essential --include="$2" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/zoneinfo/*' \
        $suite "$1" "$mirror"
}

make_root() { # ROOT
    packages=systemd,systemd-sysv,dbus,udev,apparmor,lxc,uidmap,kmod,zstd,xz-utils,erofs-utils,e2fsprogs
    packages=$packages,linux-image-amd64,linux-headers-amd64,make,initramfs-tools,lvm2,thin-provisioning-tools
    rm -rf --one-file-system "$1"
    mmdebstrap --quiet --variant=minbase --include=$packages --dpkgopt='path-exclude=/usr/share/doc/*' \
        --setup-hook='mkdir -p "$1/etc/initramfs-tools/conf.d" && echo MODULES=list > "$1/etc/initramfs-tools/conf.d/list"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' $suite "$1" "$mirror"
    build_modules "$1"
    configure "$1"
    make_initial_root "$1"
}

mark=$(cat "$0" "$here"/module/* "$here/checks.service" | sha256sum | cut -c 1-16)
if [ "$(cat "$directory/mark" 2> /dev/null)" = "$mark" ] && [ -n "$(find "$directory/mark" -mtime -14)" ]; then
    echo "image: $directory/root.img is there"
    exit 0
fi
mkdir -p "$directory"
rm -f "$directory/mark"
root=$(mktemp -d /var/tmp/phoenix-nvidia-vm-XXXXXX)
trap 'rm -rf --one-file-system "$root"' EXIT
trap 'exit 1' INT TERM
make_template "$directory/template.tar.zst" kmod,zstd,xz-utils
make_template "$directory/template-systemd.tar.zst" kmod,zstd,xz-utils,systemd,systemd-sysv,dbus
make_root "$root/root"
cp "$root"/root/boot/vmlinuz-* "$directory/vmlinuz"
cp "$root"/root/boot/initrd.img-* "$directory/initrd.img"
rm -f "$directory/root.img"
mke2fs -q -t ext4 -L root -d "$root/root" "$directory/root.img" 6G
echo "$versions" > "$directory/versions"
echo "$mark" > "$directory/mark"
echo "image: $directory/root.img is new"
