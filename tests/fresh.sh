#!/bin/sh
# Tries the project on machines where nothing was ever installed: fresh.sh [SUITE...] (bookworm and trixie)
#
# For each release of Debian: a new root file system, which has the Rust toolchain of this machine and nothing else of
# it; the last commit is cloned there, and the two commands of README.md are typed. Prints one line a command; what they
# say is in /var/tmp/phoenix-nvidia-fresh-SUITE-COMMAND.log. Takes an hour and 12 GB on two cores; needs root, and
# mmdebstrap.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
[ "$(id -u)" = 0 ] || { echo "fresh.sh: root file systems are made by root" >&2; exit 1; }

root=
trap '[ -z "$root" ] || rm -rf --one-file-system "$root"' EXIT
trap 'exit 130' INT TERM

make_root() {
    root=$(mktemp -d "/var/tmp/phoenix-nvidia-fresh-$suite-XXXXXX")
    sh "$here/tests/debian_root.sh" "$root" "$suite"
    git clone --quiet "$here" "$root/root/phoenix-nvidia"
}

type_in() { # COMMAND: `demo` or `test`
    log=/var/tmp/phoenix-nvidia-fresh-$suite-$1.log
    began=$(date +%s)
    sh "$here/tests/enter.sh" "$root" make -C phoenix-nvidia "$1" > "$log" 2>&1 || {
        tail -n 40 "$log" >&2
        echo "fresh.sh: FAILED: \`make $1\` on a fresh $suite; all that it said is in $log" >&2
        exit 1
    }
    echo "ok: \`make $1\` on a fresh $suite, $((($(date +%s) - began) / 60)) min"
}

says_what_it_changes() {
    for change in 'packages: apt-get installs' 'id ranges: /etc/subuid' 'id ranges: /etc/subgid'; do
        grep -q "^$change" "$log" || { echo "fresh.sh: FAILED: $log does not say \`$change\`" >&2; exit 1; }
    done
    echo "ok: \`make demo\` says what it changes on a fresh $suite"
}

[ $# -gt 0 ] || set -- bookworm trixie
for suite in "$@"; do
    make_root
    type_in demo
    says_what_it_changes
    type_in test
    rm -rf --one-file-system "$root"
done
