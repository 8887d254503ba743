#!/bin/sh
# Makes what the demonstration needs: ingredients.sh DIR
#
# Afterwards DIR has `template.tar.zst`, a minimal Debian, and `server/` with a run file for each of two branches:
# NVIDIA's real user space, as Debian 12 packages it, with the stand-in installer inside. The versions, newest first,
# are the lines of DIR/versions. What is there is kept. What it changes on the machine it says: packages, id ranges.
set -eu

directory=$1
here=$(cd "$(dirname "$0")/.." && pwd)
programs=${CARGO_TARGET_DIR:-$here/target}/release

[ "$(id -u)" = 0 ] || { echo "ingredients.sh: containers are made by root alone" >&2; exit 1; }
sh "$here/demo/packages.sh"
sh "$here/demo/id_ranges.sh"
mkdir -p "$directory/server"
echo "programs: cargo builds them; what it says is in $directory/build.log"
(cd "$here" && cargo build --release --bins --examples) > "$directory/build.log" 2>&1 || {
    tail -n 30 "$directory/build.log" >&2
    exit 1
}
sh "$here/demo/template.sh" "$directory/template.tar.zst"

if [ -s "$directory/versions" ]; then
    exit 0
fi
for program in stand_in_installer decompress; do
    sh "$here/demo/static_program.sh" $program "$directory/programs/$program" --release
done
versions=
for branch in current tesla-470; do
    files=$directory/files-$branch
    version=$(sh "$here/demo/debian-driver.sh" "$files" "$branch")
    file=$directory/server/NVIDIA-Linux-x86_64-$version-no-compat32.run
    # As NVIDIA compresses them: xz before 530, zstd since.
    compression=zstd
    [ "${version%%.*}" -ge 530 ] || compression=xz
    "$programs/examples/assemble_run_file" --version "$version" --files "$files" --output "$file" \
        --installer "$directory/programs/stand_in_installer" \
        --compression $compression --decompressor "$directory/programs/decompress"
    (cd "$directory/server" && sha256sum "$(basename "$file")" > "$(basename "$file").sha256sum")
    rm -rf "$files"
    versions="$versions$version
"
done
printf '%s' "$versions" > "$directory/versions"
