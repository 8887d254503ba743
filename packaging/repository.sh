#!/bin/sh
# Adds packages to a signed apt repository in a directory: repository.sh DIRECTORY PACKAGE…
#
# PHOENIX_SIGNING_KEY holds the armoured secret key, which leaves no trace on this machine. Packages of previous releases
# stay in DIRECTORY, so that apt can install them by version.
set -eu
umask 022

directory=$1
shift
[ -n "${PHOENIX_SIGNING_KEY:-}" ] || {
    echo "repository.sh: PHOENIX_SIGNING_KEY is empty; export the armoured secret key that apt is to trust in it" >&2
    exit 2
}
epoch=${SOURCE_DATE_EPOCH:-$(date +%s)}
suite=stable

GNUPGHOME=$(mktemp -d)
export GNUPGHOME
stop_agent() {
    gpgconf --kill all > /dev/null 2>&1 || true
    rm -rf "$GNUPGHOME"
}
trap stop_agent EXIT
printf '%s\n' "$PHOENIX_SIGNING_KEY" | gpg --batch --quiet --import

pool=pool/main/p/phoenix-nvidia
mkdir -p "$directory/$pool"
for package in "$@"; do
    install -m 644 "$package" "$directory/$pool/"
done

cd "$directory"
rm -rf dists
for architecture in amd64 arm64; do
    index=dists/$suite/main/binary-$architecture
    mkdir -p "$index"
    apt-ftparchive --arch "$architecture" packages pool > "$index/Packages"
    xz --keep --threads=1 "$index/Packages"
done
apt-ftparchive \
    -o APT::FTPArchive::Release::Origin=phoenix-nvidia -o APT::FTPArchive::Release::Suite=$suite \
    -o APT::FTPArchive::Release::Codename=$suite -o APT::FTPArchive::Release::Components=main \
    -o APT::FTPArchive::Release::Architectures='amd64 arm64' \
    -o APT::FTPArchive::Release::Date="$(LC_ALL=C date --utc --date="@$epoch" '+%a, %d %b %Y %H:%M:%S UTC')" \
    release "dists/$suite" > Release.new
mv Release.new "dists/$suite/Release"
gpg --batch --yes --clearsign --output "dists/$suite/InRelease" "dists/$suite/Release"
gpg --batch --yes --armor --detach-sign --output "dists/$suite/Release.gpg" "dists/$suite/Release"
gpg --batch --yes --armor --export --output phoenix-nvidia.asc
echo "$directory"
