#!/bin/sh
# Prints the Debian release that templates are made of: the one of this host; PHOENIX_DEMO_SUITE overrides it.
set -eu

suite=${PHOENIX_DEMO_SUITE:-}
if [ -z "$suite" ]; then
    # shellcheck source=/dev/null
    suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME:-}") || suite=
fi
[ -n "$suite" ] || {
    echo "suite.sh: this host is no release of Debian; PHOENIX_DEMO_SUITE=trixie says which one to take" >&2
    exit 1
}
echo "$suite"
