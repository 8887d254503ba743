#!/bin/sh
# Prints the glibc that a program needs, as `2.34`: needed_glibc.sh BINARY. It depends on where the program was built.
set -eu

objdump -T "$1" | sed -n 's/.*GLIBC_\([0-9.]*\).*/\1/p' | sort --version-sort | tail -n 1 | grep . || {
    echo "needed_glibc.sh: \`$1\` names no version of glibc" >&2
    exit 1
}
