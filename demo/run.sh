#!/bin/sh
# The demonstration: containers get NVIDIA's real user space from a run file on a loopback server.
#
# It works in $DEMO_DIRECTORY (/var/tmp/phoenix-nvidia-demo), takes all containers away again, and changes nothing
# else on the host except that missing packages are installed.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
directory=${DEMO_DIRECTORY:-/var/tmp/phoenix-nvidia-demo}
programs=${CARGO_TARGET_DIR:-$here/target}/release
base=$directory/base
containers=$directory/lxc

tidy() {
    [ -z "${server:-}" ] || kill "$server" 2> /dev/null || true
    for container in "$containers"/*/config; do
        [ -e "$container" ] || continue
        name=$(basename "$(dirname "$container")")
        lxc-stop --lxcpath "$containers" --name "$name" --kill > /dev/null 2>&1 || true
    done
    rm -rf --one-file-system "$base" "$containers"
}
trap tidy EXIT INT TERM

say() {
    printf '\n== %s\n' "$*"
}

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}

say "ingredients: template and run files"
sh "$here/demo/ingredients.sh" "$directory"
version=$(head -n 1 "$directory/versions")

say "a server for $directory/server"
"$programs/examples/serve_directory" "$directory/server" > "$directory/port" &
server=$!
until [ -s "$directory/port" ]; do kill -0 "$server"; sleep 0.1; done
url=http://127.0.0.1:$(cat "$directory/port")/NVIDIA-Linux-x86_64-$version.run

mkdir -p "$base/etc" "$base/cache" "$containers"
cat > "$base/etc/phoenix_lxc_configs.json" << END
{
  "nvidia_driver_version": "$version",
  "nvidia_runfile_url": "$url",
  "nvidia_runfile_sha256": "$(cut -d ' ' -f 1 "$directory/server/NVIDIA-Linux-x86_64-$version.run.sha256sum")",
  "lxc_configs": {
    "901": {
      "name": "gpu1", "memory_mb": 1024, "cores": 1, "template": "$directory/template.tar.zst",
      "unprivileged": true, "features": ["nvidia"], "gpu_assignment": "none",
      "lxc_options": ["lxc.init.cmd=/bin/sleep infinity", "lxc.apparmor.profile=unconfined"]
    }
  }
}
END
echo '{ "hypervisor": { "backend": "lxc" } }' > "$base/etc/phoenix_hypervisor_config.json"

say "container 901"
export PHOENIX_NVIDIA_BASE="$base" PHOENIX_NVIDIA_LXCPATH="$containers"
# Without an NVIDIA kernel module on this host the driver is installed and cannot be asked: exit code 7 says so.
show "$programs/phoenix-nvidia" create 901 || [ $? = 7 ]

say "what nvidia-smi in it says of itself"
first=$(lxc-attach --lxcpath "$containers" --name 901 --clear-env -- nvidia-smi --help | head -n 1)
echo "$first"
case $first in
    *" v$version") ;;
    *) echo "demo: container 901 does not have the driver $version" >&2; exit 1 ;;
esac
