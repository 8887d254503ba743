#!/bin/sh
# Pretends a host with one NVIDIA GPU: pretended_gpu.sh DIR VERSION
#
# Writes into DIR what such a host shows of its kernel module, and holds a mount namespace in which programs see that,
# until standard input ends. It prints `ready` when they can be started there.
set -eu

directory=$1
version=$2
here=$(cd "$(dirname "$0")/.." && pwd)
gpu=$directory/driver/nvidia/gpus/0000:01:00.0

rm -rf "$directory"
mkdir -p "$gpu"
echo "NVRM version: NVIDIA UNIX x86_64 Kernel Module  $version  Tue Jun 25 01:26:03 UTC 2024" \
    > "$directory/driver/nvidia/version"
printf 'ModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n' \
    > "$directory/driver/nvidia/params"
printf 'Model: \t\t NVIDIA GeForce RTX 3090\nGPU UUID: \t GPU-00000000-0000-0000-0000-000000000000\n' > "$gpu/information"
printf 'Bus Location: \t 0000:01:00.0\nDevice Minor: \t 0\n' >> "$gpu/information"
sed '/ nvidia/d; /^Block/,$d; /^$/d' /proc/devices > "$directory/devices"
printf '195 nvidia\n195 nvidiactl\n511 nvidia-uvm\n\n' >> "$directory/devices"
sed -n '/^Block/,$p' /proc/devices >> "$directory/devices"
printf '%s\n' 'nvidia0 195 0 666' 'nvidiactl 195 255 666' 'nvidia-uvm 511 0 666' 'nvidia-uvm-tools 511 1 666' \
    > "$directory/nodes"
exec unshare --mount --propagation private -- sh -eu "$here/tests/support/gpu_host.sh" "$directory"
