#!/bin/sh
# Prints the Debian mirror that this host's apt is configured with; DEBIAN_MIRROR overrides it.
set -eu

if [ -n "${DEBIAN_MIRROR:-}" ]; then
    echo "$DEBIAN_MIRROR"
    exit 0
fi
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Codename: bookworm' 'Component: main' | head -n 1)
[ -n "$mirror" ] || { echo "mirror.sh: apt knows no mirror of bookworm; set DEBIAN_MIRROR" >&2; exit 1; }
echo "$mirror"
