#!/bin/sh
# Prints the Debian mirror that this host's apt is configured with, or Debian's own; DEBIAN_MIRROR overrides it.
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
    mirror=http://deb.debian.org/debian
    echo "mirror.sh: apt has lists of no web mirror of Debian; taking $mirror (DEBIAN_MIRROR overrides it)" >&2
}
echo "$mirror"
