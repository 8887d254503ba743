#!/bin/sh
# Builds an example that runs in every container: static_program.sh NAME FILE [--release]
#
# FILE becomes the example NAME without a library of this host, whose versions a container may lack: NVIDIA's installer
# and decompressors are linked statically too. A FILE that is newer than the example's source is kept.
set -eu

name=$1
file=$2
here=$(cd "$(dirname "$0")/.." && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
profile=debug
[ "${3:-}" != --release ] || profile=release

source=$here/examples/$name
[ -e "$source" ] || source=$source.rs
if [ -s "$file" ] && [ -z "$(find "$source" -newer "$file" -print -quit)" ]; then
    exit 0
fi
mkdir -p "$(dirname "$file")"
# Under another name until it is whole.
partial=$(mktemp "$file.partial.XXXXXX")
trap 'rm -f "$partial"' EXIT
# Only the last step of the build is printed, so that nothing else is built again.
(cd "$here" && cargo rustc --quiet --target-dir "$target" --example "$name" ${3:+"$3"} -- \
    -C target-feature=+crt-static -C strip=symbols)
cp "$target/$profile/examples/$name" "$partial"
# Another build, of all examples, may have put its own there.
if readelf --program-headers "$partial" | grep -q INTERP; then
    echo "static_program.sh: \`$name\` was built anew in the meantime; try again" >&2
    exit 1
fi
chmod 755 "$partial"
mv "$partial" "$file"
