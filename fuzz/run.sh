#!/bin/sh
# Runs every target of the fuzzer for so many seconds each, from its seeds; ends at the first fault.
#   sh fuzz/run.sh SECONDS [TARGET...]
set -eu
cd "$(dirname "$0")"
seconds=${1:?how many seconds a target}
shift
cargo fuzz --version > /dev/null 2>&1 || { echo "cargo-fuzz is not there: cargo install cargo-fuzz" >&2; exit 1; }
[ $# -gt 0 ] || set -- $(cargo fuzz list)
# The instrumentation is in every compiler, and only its switch is a nightly one. Without a sanitizer: there is no unsafe code.
export RUSTC_BOOTSTRAP=1
cargo fuzz build --sanitizer none
for target in "$@"; do
    mkdir -p "corpus/$target"
    log=$(mktemp)
    result=0
    cargo fuzz run --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time="$seconds" -max_len=16384 -timeout=30 -rss_limit_mb=1024 -dict="dictionaries/$target.dict" \
        > "$log" 2>&1 || result=$?
    if [ "$result" -ne 0 ]; then
        tail -n 40 "$log"
        rm -f "$log"
        echo "$target: the fuzzer has ended with $result" >&2
        exit 1
    fi
    # `#4096 DONE   cov: 512 ft: 1034 corp: 87/12Kb …`
    echo "$target: $(sed -n 's/^#\([0-9]*\).*DONE *cov: \([0-9]*\).*corp: \([0-9]*\).*/\2 edges, \1 runs, \3 inputs/p' "$log")"
    rm -f "$log"
done
