#!/bin/sh
# Boots Debian 13 in a virtual machine and runs the checks of `plan` in it: one line for each on standard output.
#
# The machine is emulated, so no processor has to support it. Ends with 1 when a check failed, or when one that is
# planned has not been run. What the machine printed on its console is in target/vm/console.log.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$project/target}
directory=$target/vm
programs=$target/release
# An emulated machine that hangs is given up before anybody loses patience with it.
limit=1200

[ "$(id -u)" = 0 ] || { echo "run.sh: the machine's root file system is made only by root" >&2; exit 1; }

install_packages() {
    missing=
    for package in qemu-system-x86 mmdebstrap e2fsprogs binutils zstd util-linux; do
        dpkg-query --show --showformat='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    [ -n "$(find /var/lib/apt/lists -name '*Packages*' -mtime -1 -print -quit)" ] || apt-get update
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing
}

# What these print is of interest when they fail: quietly NAME COMMAND...
quietly() {
    log=$directory/$1.log
    shift
    "$@" > "$log" 2>&1 || { tail -n 30 "$log"; echo "run.sh: \`$*\` failed; all that it printed is in $log" >&2; exit 1; }
}

# The root file system of the image stays as it is; what is written goes with the machine.
boot() {
    timeout --kill-after=10 $limit qemu-system-x86_64 -accel tcg,thread=multi -cpu max -smp 2 -m 2048 \
        -nodefaults -no-user-config -display none -monitor none \
        -serial "file:$directory/console.log" -serial stdio \
        -drive "file=$directory/root.img,format=raw,if=virtio,snapshot=on" \
        -drive "file=$directory/checks.img,format=raw,if=virtio,readonly=on" \
        -kernel "$directory/vmlinuz" -initrd "$directory/initrd.img" \
        -append "root=/dev/vda rw console=ttyS0 systemd.show_status=no systemd.journald.forward_to_console=no" \
        < /dev/null | tee "$directory/results"
}

# A line of results is `ok`, `not here` or `FAILED`, and a check of the plan: `ok: boot 1: CHECK`.
judge() {
    code=0
    grep -q '^FAILED: ' "$directory/results" && code=1
    while read -r boot check; do
        case $boot in '' | '#'*) continue ;; esac
        # Lines end as on a terminal.
        tr -d '\r' < "$directory/results" | sed -n 's/^[a-zA-Z ]*: //p' | grep -qxF "boot $boot: $check" && continue
        echo "MISSING: boot $boot: $check"
        code=1
    done < "$here/plan"
    [ $code = 0 ] || echo "vm: the console's log is $directory/console.log" >&2
    return $code
}

mkdir -p "$directory"
exec 9> "$directory/lock"
flock --nonblock 9 || { echo "run.sh: another machine is being run in $directory; wait for its end" >&2; exit 1; }
install_packages
(cd "$project" && cargo build --release --locked --bins --examples)
quietly image sh "$here/image.sh" "$directory"
quietly checks sh "$here/checks_disk.sh" "$programs" "$directory"
boot
judge
