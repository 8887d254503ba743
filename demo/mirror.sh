#!/bin/sh
# Prints the Debian mirror that this host's apt is configured with; DEBIAN_MIRROR overrides it.
#
# A mirror has every release, so that of any is right. Which archive is Debian's main one, apt knows from its lists.
set -eu

# Others name themselves otherwise, and so do Debian's archives of backports and of security.
configured() {
    apt-get indextargets --format '$(REPO_URI)' 'Origin: Debian' 'Label: Debian' 'Component: main' 2> /dev/null |
        grep '^https*://'
}

if [ -n "${DEBIAN_MIRROR:-}" ]; then
    echo "$DEBIAN_MIRROR"
    exit 0
fi
mirror=$(configured | head -n 1) || mirror=
[ -n "$mirror" ] || {
    # Without lists apt knows no archive.
    apt-get update > /dev/null
    mirror=$(configured | head -n 1) || mirror=
}
[ -n "$mirror" ] || { echo "mirror.sh: apt knows no web mirror of Debian; set DEBIAN_MIRROR" >&2; exit 1; }
echo "$mirror"
