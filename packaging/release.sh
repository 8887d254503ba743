#!/bin/sh
# Makes what one can trust and install: release.sh DIRECTORY
#
# DIRECTORY gets the Debian package, the archive, the bill of materials (CycloneDX) and SHA256SUMS; with
# PHOENIX_SIGNING_KEY, the armoured secret key, a signature of the sums and a signed apt repository besides. The same
# commit built with the same compiler makes the same bytes, wherever it lies.
set -eu
umask 022

here=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
directory=$(cd "$1" && pwd)
target=${CARGO_TARGET_DIR:-$here/target}
tools=$target/tools
cargo_home=${CARGO_HOME:-$HOME/.cargo}
cyclonedx=0.5.9
SOURCE_DATE_EPOCH=$(git -C "$here" log -1 --format=%ct)
export SOURCE_DATE_EPOCH

[ -z "$(git -C "$here" status --porcelain)" ] || {
    echo "release.sh: there are changes that no commit holds; commit them, for a release is made from a commit" >&2
    exit 1
}

install_packages() {
    missing=
    for package in apt-utils gnupg binutils xz-utils; do
        dpkg-query --show --showformat='${Status}' "$package" 2> /dev/null | grep -q 'ok installed' ||
            missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $missing > /dev/null
}

# Neither where the sources lie nor where cargo keeps others' may show in the program.
build() {
    maps="$here=. $cargo_home=cargo $target=target"
    RUSTFLAGS="${RUSTFLAGS:-}"
    CFLAGS="${CFLAGS:-}"
    for map in $maps; do
        RUSTFLAGS="$RUSTFLAGS --remap-path-prefix=$map"
        CFLAGS="$CFLAGS -ffile-prefix-map=$map"
    done
    export RUSTFLAGS CFLAGS
    cargo build --manifest-path "$here/Cargo.toml" --release --locked --bin phoenix-nvidia --target-dir "$target/reproducible"
}

# A release runs on Debian 12; a program built where glibc is newer may not.
refuse_newer_glibc() {
    promised=2.34
    needed=$(sh "$here/packaging/needed_glibc.sh" "$1")
    highest=$(printf '%s\n%s\n' "$promised" "$needed" | sort --version-sort | tail -n 1)
    [ "$highest" = "$promised" ] || {
        echo "release.sh: the program needs glibc $needed, a release promises $promised; build it on Debian 12" >&2
        exit 1
    }
}

# cargo-cyclonedx writes beside Cargo.toml, has no option for another place, and names the directory of the sources.
bill_of_materials() {
    [ -x "$tools/bin/cargo-cyclonedx" ] ||
        cargo install --quiet --locked --root "$tools" "cargo-cyclonedx@$cyclonedx"
    (cd "$here" && "$tools/bin/cargo-cyclonedx" cyclonedx --format json --override-filename phoenix-nvidia.cdx \
        --target x86_64-unknown-linux-gnu)
    sed "s,path+file://$here,path+file:///phoenix-nvidia," "$here/phoenix-nvidia.cdx.json" > "$directory/$name.cdx.json"
    rm "$here/phoenix-nvidia.cdx.json"
}

sign_sums() {
    GNUPGHOME=$(mktemp -d)
    export GNUPGHOME
    printf '%s\n' "$PHOENIX_SIGNING_KEY" | gpg --batch --quiet --import
    gpg --batch --yes --armor --detach-sign "$directory/SHA256SUMS"
    gpgconf --kill all > /dev/null 2>&1 || true
    rm -rf "$GNUPGHOME"
}

install_packages
build
binary=$target/reproducible/release/phoenix-nvidia
refuse_newer_glibc "$binary"
name=phoenix-nvidia-$("$binary" --version | cut -d ' ' -f 2)
rm -f "$directory"/phoenix-nvidia[-_]* "$directory"/SHA256SUMS*
package=$(sh "$here/packaging/deb.sh" "$binary" "$directory")
sh "$here/packaging/archive.sh" "$binary" "$directory"
bill_of_materials
(cd "$directory" && sha256sum phoenix-nvidia[-_]* > SHA256SUMS)
if [ -n "${PHOENIX_SIGNING_KEY:-}" ]; then
    sign_sums
    sh "$here/packaging/repository.sh" "$directory/apt" "$package"
else
    echo "release.sh: no signature and no apt repository were made: PHOENIX_SIGNING_KEY is empty" >&2
fi
cat "$directory/SHA256SUMS"
