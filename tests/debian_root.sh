#!/bin/sh
# Makes a root file system as a new machine has it: debian_root.sh DIRECTORY SUITE
#
# A minimal Debian with `make`, which reaches Debian's archive as this machine does. It is entered by enter.sh.
set -eu

root=$1
suite=$2
here=$(cd "$(dirname "$0")/.." && pwd)

mmdebstrap --quiet --variant=minbase --include=ca-certificates,make "$suite" "$root" "$(sh "$here/demo/mirror.sh")"
apt-config dump | grep -E '^Acquire::(https?|Check-|Retries)' > "$root/etc/apt/apt.conf.d/10this-machine" || true
echo "127.0.0.1 localhost" > "$root/etc/hosts"
