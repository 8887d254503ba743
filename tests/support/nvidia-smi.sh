#! /bin/sh
# Plays nvidia-smi @VERSION@ where there is no GPU. The pretended kernel module is the file
# /etc/pretended-kernel-module, which holds its version, or one that is loaded; everything else is asked of the system:
# the library by the loader's cache, the device nodes by opening them.
LC_ALL=C
export LC_ALL
version=@VERSION@
module=/etc/pretended-kernel-module

if [ "$1" = --help ] || [ "$1" = -h ]; then
    echo "NVIDIA System Management Interface -- v$version"
    exit 0
fi

# What was seen elsewhere: an exit code in the first line, and what is printed with it.
if [ -f /etc/pretended-answer ]; then
    sed 1d /etc/pretended-answer
    exit "$(head -n 1 /etc/pretended-answer)"
fi

library=$(PATH=$PATH:/sbin:/usr/sbin ldconfig -p | sed -n 's/^[[:space:]]*libnvidia-ml\.so\.1 .*=> //p' | head -n 1)
if [ -z "$library" ] || [ ! -e "$library" ]; then
    echo "NVIDIA-SMI couldn't find libnvidia-ml.so library in your system. Please make sure that the NVIDIA Display Driver is properly installed and present in your system."
    echo "Please also try adding directory that contains libnvidia-ml.so to your system PATH."
    exit 12
fi

no_driver() {
    echo "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running."
    echo
    exit 9
}

# What opening a node says: a device cgroup that forbids it says something else than a number without a driver.
opening() {
    ( : < "$1" ) 2>&1
}

[ -c /dev/nvidiactl ] || no_driver
case $(opening /dev/nvidiactl) in
    *"Operation not permitted"*) echo "Failed to initialize NVML: Unknown Error"; exit 255 ;;
    *"Permission denied"*) echo "Failed to initialize NVML: Insufficient Permissions"; exit 4 ;;
esac
if [ -f $module ]; then
    loaded=$(cat $module)
elif [ -r /proc/driver/nvidia/version ]; then
    loaded=$(sed -n 's/^NVRM version: .* \([0-9][0-9]*\.[0-9.]*\)  .*/\1/p' /proc/driver/nvidia/version)
else
    no_driver
fi

library_version=$(readlink -f "$library")
library_version=${library_version##*/libnvidia-ml.so.}
if [ "$library_version" != "$loaded" ]; then
    echo "Failed to initialize NVML: Driver/library version mismatch"
    echo "NVML library version: $(echo "$library_version" | cut -d . -f 1,2)"
    exit 18
fi

gpus=
for node in /dev/nvidia[0-9]*; do
    [ -c "$node" ] || continue
    case $(opening "$node") in
        *"Operation not permitted"* | *"Permission denied"*) ;;
        *) gpus="$gpus ${node#/dev/nvidia}" ;;
    esac
done
if [ -z "$gpus" ]; then
    echo "No devices were found"
    exit 6
fi

value_of() {
    case "$1" in
        driver_version) printf '%s' "$loaded" ;;
        index) printf '%s' "$index" ;;
        uuid | gpu_uuid) printf 'GPU-00000000-0000-0000-0000-%012d' "$minor" ;;
        name | gpu_name) printf 'Pretended GPU' ;;
        *) echo "Field \"$1\" is not a valid field to query."; exit 2 ;;
    esac
}

fields=
header=y
for argument; do
    case "$argument" in
        --query-gpu=*) fields=${argument#--query-gpu=} ;;
        --format=*noheader*) header=n ;;
    esac
done
[ -n "$fields" ] || fields=index,name,driver_version
[ $header = n ] || echo "$fields" | sed 's/,/, /g'
index=0
for minor in $gpus; do
    separator=
    for field in $(echo "$fields" | tr , ' '); do
        printf '%s' "$separator"
        value_of "$field"
        separator=', '
    done
    echo
    index=$((index + 1))
done
