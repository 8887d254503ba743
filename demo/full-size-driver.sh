#!/bin/sh
# Makes a run file of a whole driver, as large as NVIDIA's: full-size-driver.sh DIR BRANCH
#
# BRANCH is `current` (Debian 12's, 535 as of 2025) or `550` (Debian 13's). All libraries of 64 and 32 bits, programs,
# firmware and kernel sources are those of NVIDIA's that Debian packages; their places in the package and the words of
# its `.manifest` are our own, after NVIDIA's, and the installer inside is the stand-in: for demonstrations and
# measurements. The file is made once, in DIR; its path is the last line of standard output. It takes 3 GB of disk for
# the moment and downloads 600 MB. Nothing is installed; apt verifies what it downloads.
set -eu

directory=$1
branch=$2
here=$(cd "$(dirname "$0")/.." && pwd)
programs=${CARGO_TARGET_DIR:-$here/target}/release

case $branch in
    current) suite=bookworm ;;
    550) suite=trixie ;;
    *) echo "full-size-driver.sh: $branch is neither \`current\` nor \`550\`" >&2; exit 2 ;;
esac

# Packages of both word sizes, and those of 64 bits alone.
both="libcuda1 libegl-nvidia0 libgl1-nvidia-glvnd-glx libgles-nvidia1 libgles-nvidia2 libglx-nvidia0 libnvcuvid1
    libnvidia-allocator1 libnvidia-eglcore libnvidia-encode1 libnvidia-fbc1 libnvidia-glcore libnvidia-glvkspirv
    libnvidia-ml1 libnvidia-nvvm4 libnvidia-opticalflow1 libnvidia-ptxjitcompiler1 nvidia-libopencl1 nvidia-opencl-icd
    nvidia-vdpau-driver libgl1 libglx0 libegl1 libgles1 libgles2 libopengl0 libglvnd0"
native="libcudadebugger1 libnvidia-api1 libnvidia-cfg1 libnvidia-ngx1 libnvidia-pkcs11-openssl3 libnvidia-rtcore
    libnvoptix1 nvidia-cuda-mps nvidia-driver nvidia-driver-bin nvidia-egl-icd nvidia-egl-common nvidia-kernel-dkms
    nvidia-kernel-support nvidia-opencl-common nvidia-powerd nvidia-smi nvidia-suspend-common nvidia-vulkan-icd
    nvidia-vulkan-common xserver-xorg-video-nvidia firmware-nvidia-gsp libnvidia-egl-wayland1 nvidia-settings
    nvidia-modprobe nvidia-persistenced"
# A library of its own since 545.
[ $suite = bookworm ] || both="$both libnvidia-gpucomp"

made=$directory/full-size-$branch
if [ -s "$made" ] && [ -s "$(cat "$made")" ]; then
    cat "$made"
    exit 0
fi

mkdir -p "$directory"
directory=$(cd "$directory" && pwd)
work=$(mktemp -d "$directory/full-size-XXXXXX")
trap 'rm -rf "$work"' EXIT
# apt's helper is another user and has to reach its downloads.
chmod 0755 "$work"
mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/native" "$work/compat32" "$work/debs/native" \
    "$work/debs/compat32"
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mirror=$(sh "$here/demo/mirror.sh")
echo "deb [signed-by=$keyring] $mirror $suite main contrib non-free non-free-firmware" > "$work/sources.list"

apt_own() {
    apt-get --quiet=2 -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work" -o Dir::Cache::Archives="$work/archives" \
        -o Dir::State::Status=/dev/null -o APT::Sandbox::User=root -o APT::Architecture=amd64 \
        -o APT::Architectures=amd64,i386 -o Acquire::Languages=none "$@"
}

unpack() {
    for deb in "$work/debs/$1"/*.deb; do
        dpkg-deb --extract "$deb" "$work/$1"
        rm "$deb"
    done
}

apt_own update >&2
# shellcheck disable=SC2086
(cd "$work/debs/native" && apt_own download $both $native >&2)
# shellcheck disable=SC2046,SC2086
(cd "$work/debs/compat32" && apt_own download $(printf '%s:i386 ' $both) >&2)
unpack native
unpack compat32

library=$(find "$work/native" -name 'libnvidia-ml.so.*.*' -type f | head -n 1)
[ -n "$library" ] || { echo "full-size-driver.sh: the packages hold no libnvidia-ml.so" >&2; exit 1; }
version=${library##*/libnvidia-ml.so.}
name=NVIDIA-Linux-x86_64-$version.run
(cd "$here" && cargo build --quiet --release --example assemble_run_file)
for program in stand_in_installer decompress; do
    sh "$here/demo/static_program.sh" $program "$directory/programs/$program" --release
done
"$programs/examples/assemble_run_file" --version "$version" --files "$work/native" \
    --files-of-32-bits "$work/compat32" --installer "$directory/programs/stand_in_installer" --output "$work/$name" \
    --decompressor "$directory/programs/decompress" >&2
(cd "$work" && sha256sum "$name" > "$name.sha256sum")
mkdir -p "$directory/full-size"
mv "$work/$name" "$work/$name.sha256sum" "$directory/full-size"
echo "$directory/full-size/$name" > "$made"
cat "$made"
