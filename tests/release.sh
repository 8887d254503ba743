#!/bin/sh
# Tries a release as those do who get it: tests/release.sh [SUITE…] (bookworm and trixie)
#
# Built twice at two places it is the same bytes. From its apt repository it is installed into a new root file system of
# each release of Debian, in the version before, upgraded, used and purged; a repository that somebody has changed is
# refused. Takes a quarter of an hour; needs root. Prints one line a check.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
# Below the home of root a root file system could not be read by apt's own user.
work=$(mktemp -d /var/tmp/phoenix-nvidia-release-XXXXXX)
chmod 755 "$work"
trap 'rm -rf --one-file-system "$work"' EXIT
trap 'exit 130' INT TERM

suites=${*:-bookworm trixie}
export DEBIAN_FRONTEND=noninteractive

passed() { echo "ok: $*"; }
failed() {
    echo "FAILED: $*" >&2
    exit 1
}

install_packages() {
    sh "$here/demo/packages.sh"
    command -v gpg > /dev/null && command -v apt-ftparchive > /dev/null && return
    apt-get install --yes --no-install-recommends apt-utils gnupg > /dev/null
}

make_key() {
    GNUPGHOME=$work/gnupg
    export GNUPGHOME
    mkdir -m 700 "$GNUPGHOME"
    gpg --batch --quiet --passphrase '' --quick-generate-key 'phoenix-nvidia test <test@localhost>' ed25519 sign never
    PHOENIX_SIGNING_KEY=$(gpg --armor --export-secret-keys)
    export PHOENIX_SIGNING_KEY
    gpgconf --kill all
    unset GNUPGHOME
}

# The second place has another name of another length, and so has its build directory.
build_twice() {
    for place in one another-place; do
        git clone --quiet "$here" "$work/$place"
        (cd "$work/$place" && CARGO_TARGET_DIR="$work/$place-target" make --silent release > "$work/$place.log" 2>&1) ||
            { tail -n 20 "$work/$place.log" >&2; failed "make release"; }
    done
    first=$work/one-target/release-files
    cmp "$first/SHA256SUMS" "$work/another-place-target/release-files/SHA256SUMS" || failed "two builds differ"
    (cd "$first" && sha256sum --quiet --check SHA256SUMS)
    passed "built at two places, $(wc -l < "$first/SHA256SUMS") files are the same bytes"
}

check_archive() {
    mkdir -p "$work/archive"
    tar --extract --file "$first"/phoenix-nvidia-*.tar.xz --directory "$work/archive" --strip-components=1
    "$work/archive/bin/phoenix-nvidia" --version > /dev/null
    for file in lib/systemd/system/phoenix-nvidia-host.service share/man/man1/phoenix-nvidia.1.gz \
        share/bash-completion/completions/phoenix-nvidia share/doc/phoenix-nvidia/examples/phoenix_lxc_configs.json; do
        [ -s "$work/archive/$file" ] || failed "the archive has no $file"
    done
    ! grep -rl "$work" "$work/archive" > /dev/null || failed "the archive names the directory it was built in"
    passed "the archive has its program, units, manual pages, completions and examples"
}

add_release_before() {
    binary=$work/one-target/reproducible/release/phoenix-nvidia
    before=$(PACKAGE_VERSION=0.0.1 sh "$here/packaging/deb.sh" "$binary" "$work/before")
    sh "$here/packaging/repository.sh" "$first/apt" "$before" > /dev/null
}

inside() { chroot "$root" sh -ec "$1"; }
version_of() { inside "dpkg-query --show --showformat='\${Version}' phoenix-nvidia"; }

# What is there but for what apt, dpkg and ldconfig keep for themselves.
files() { (cd "$root" && find . -xdev ! -path './var/lib/dpkg/*' ! -path './var/lib/apt/*' ! -path './var/cache/*' ! -path './var/log/*' ! -path './repository/*' | sort); }

# As README.md says it, with a directory in place of a server.
install_from_repository() {
    cp -a "$first/apt" "$root/repository"
    install -D -m 644 "$root/repository/phoenix-nvidia.asc" "$root/etc/apt/keyrings/phoenix-nvidia.asc"
    echo 'deb [signed-by=/etc/apt/keyrings/phoenix-nvidia.asc] file:/repository stable main' \
        > "$root/etc/apt/sources.list.d/phoenix-nvidia.list"
    inside 'apt-get update' > "$work/apt.log" 2>&1 || { cat "$work/apt.log" >&2; failed "$suite: apt-get update"; }
    inside 'apt-get install --yes --no-install-recommends kmod' > "$work/apt.log" 2>&1
    files > "$work/files-before"
    inside 'apt-get install --yes --no-install-recommends phoenix-nvidia=0.0.1' > "$work/apt.log" 2>&1 ||
        { cat "$work/apt.log" >&2; failed "$suite: apt-get install"; }
    [ "$(version_of)" = 0.0.1 ] || failed "$suite: the release before is $(version_of)"
    passed "$suite: the release before, installed by apt"
}

upgrade_and_use() {
    inside 'apt-get upgrade --yes --no-install-recommends' > "$work/apt.log" 2>&1 ||
        { cat "$work/apt.log" >&2; failed "$suite: apt-get upgrade"; }
    version=$(inside 'phoenix-nvidia --version' | cut -d ' ' -f 2)
    [ "$(version_of)" = "$version" ] || failed "$suite: the program is $version, the package $(version_of)"
    passed "$suite: upgraded by apt to $version, which runs"
}

purge() {
    inside 'apt-get purge --yes phoenix-nvidia' > "$work/apt.log" 2>&1 || failed "$suite: apt-get purge"
    files > "$work/files-after"
    diff "$work/files-before" "$work/files-after" >&2 || failed "$suite: a purge leaves something"
    passed "$suite: purged, nothing is left"
}

refuse_changed_repository() {
    sed -i 's/^Version: 0.0.1$/Version: 9.9.9/' "$root"/repository/dists/stable/main/binary-amd64/Packages
    rm "$root"/repository/dists/stable/main/binary-amd64/Packages.xz
    inside 'rm -rf /var/lib/apt/lists/_repository*; apt-get update' > "$work/apt.log" 2>&1 || true
    ! inside 'apt-cache policy phoenix-nvidia' | grep -q 9.9.9 || failed "$suite: a changed index was believed"
    ! inside 'apt-get install --yes phoenix-nvidia' > "$work/apt.log" 2>&1 || failed "$suite: it was installed"
    passed "$suite: a repository that somebody has changed is refused"
}

try_in() {
    suite=$1
    root=$work/root-$suite
    mmdebstrap --quiet --variant=apt "$suite" "$root" "$(PHOENIX_DEMO_SUITE=$suite sh "$here/demo/mirror.sh")"
    install_from_repository
    upgrade_and_use
    purge
    refuse_changed_repository
}

[ "$(id -u)" = 0 ] || { echo "release.sh: root file systems are made by root" >&2; exit 1; }
install_packages
make_key
build_twice
check_archive
add_release_before
for name in $suites; do
    try_in "$name"
done
echo "release: every check passed on $suites"
