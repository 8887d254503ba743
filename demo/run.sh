#!/bin/sh
# The demonstration: containers get NVIDIA's real user space from a run file on a loopback server.
#
# It works in $DEMO_DIRECTORY (/var/tmp/phoenix-nvidia-demo) and takes all containers away again. Else it changes two
# things on the host, and says so: missing packages are installed, and root may map the ids of unprivileged containers.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
directory=${DEMO_DIRECTORY:-/var/tmp/phoenix-nvidia-demo}
programs=${CARGO_TARGET_DIR:-$here/target}/release
base=$directory/base
containers=$directory/lxc

tidy() {
    [ -z "${gpu_host:-}" ] || kill "$gpu_host" 2> /dev/null || true
    [ -z "${server:-}" ] || kill "$server" 2> /dev/null || true
    for container in "$containers"/*/config; do
        [ -e "$container" ] || continue
        name=$(basename "$(dirname "$container")")
        lxc-stop --lxcpath "$containers" --name "$name" --kill > /dev/null 2>&1 || true
    done
    rm -rf --one-file-system "$base" "$containers" "$directory/gpu-host"
}
trap tidy EXIT INT TERM

say() {
    printf '\n== %s\n' "$*"
}

show() {
    printf '\n$ phoenix-nvidia %s\n' "$*"
    "$phoenix" "$@"
}

# The same without the lines of progress, which have been seen by then.
show_briefly() {
    printf '\n$ phoenix-nvidia %s\n' "$*"
    "$phoenix" --progress none "$@"
}

say "ingredients: packages, id ranges, template and run files"
sh "$here/demo/ingredients.sh" "$directory"
version=$(sed -n 1p "$directory/versions")
older=$(sed -n 2p "$directory/versions")
phoenix=$programs/phoenix-nvidia
mkdir -p "$base/cache" "$containers"
chmod 0755 "$containers"
export PHOENIX_BASE="$base" PHOENIX_LXCPATH="$containers" PHOENIX_LOG_FILE="$directory/phoenix_hypervisor.log"

# A container as a guide for plain LXC makes it, with raw lines for a GPU.
make_by_hand() {
    mkdir -p "$containers/$1/rootfs"
    tar --zstd --exclude='./dev/*' --directory "$containers/$1/rootfs" -xf "$directory/template.tar.zst"
    cat > "$containers/$1/config" << END
lxc.include = /usr/share/lxc/config/common.conf
lxc.rootfs.path = dir:$containers/$1/rootfs
lxc.uts.name = $1
lxc.net.0.type = empty
lxc.cgroup2.devices.allow = c 195:* rwm
lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,optional,create=file
lxc.mount.entry = /dev/nvidiactl dev/nvidiactl none bind,optional,create=file
lxc.mount.entry = /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file
END
}

say "two containers that somebody has made by hand, and no configuration; a GPU is pretended for them"
rm -f "$directory/hold" "$directory/ready"
mkfifo "$directory/hold" "$directory/ready"
sh "$here/demo/pretended_gpu.sh" "$directory/gpu-host" "$version" < "$directory/hold" > "$directory/ready" &
gpu_host=$!
exec 3> "$directory/hold"
read -r _ < "$directory/ready"
on_gpu_host() {
    printf '\n$ phoenix-nvidia %s\n' "$*"
    nsenter --mount="/proc/$gpu_host/ns/mnt" -- "$phoenix" "$@"
}
make_by_hand jellyfin
make_by_hand frigate
cksum "$containers"/*/config > "$directory/settings-before"
on_gpu_host cache import "$directory/server/NVIDIA-Linux-x86_64-$version-no-compat32.run"
on_gpu_host status
on_gpu_host apply --all
on_gpu_host status --exit-code
cksum "$containers"/*/config | cmp - "$directory/settings-before"
echo "both have the driver of the host, and their settings are what they were"
on_gpu_host uninstall --all
exec 3>&-
wait "$gpu_host"
gpu_host=
rm -rf --one-file-system "$base" "$containers" "$directory/gpu-host"
rm -f "$directory/hold" "$directory/ready" "$directory/settings-before"

say "a web server for $directory/server, on loopback"
rm -f "$directory/port"
"$programs/examples/serve_directory" "$directory/server" > "$directory/port" &
server=$!
until [ -s "$directory/port" ]; do kill -0 "$server"; sleep 0.1; done
host=127.0.0.1:$(cat "$directory/port")

# The two files that operators have. {version} makes one URL serve every version.
configure() {
    cat > "$base/etc/phoenix_lxc_configs.json" << END
{
  "nvidia_driver_version": "$1",
  "nvidia_runfile_url": "http://$host/NVIDIA-Linux-{arch}-{version}-no-compat32.run",
  "lxc_configs": {
    "901": {
      "name": "gpu1", "memory_mb": 2048, "cores": 2, "template": "$directory/template.tar.zst",
      "unprivileged": true, "features": ["nvidia"], "gpu_assignment": "0"
    },
    "902": {
      "name": "gpu2", "memory_mb": 2048, "cores": 2, "template": "$directory/template.tar.zst",
      "unprivileged": false, "features": ["nvidia"], "gpu_assignment": "0"
    }
  }
}
END
    cat > "$base/etc/phoenix_hypervisor_config.json" << END
{ "hypervisor": { "backend": "lxc" }, "nvidia_driver": { "version": "$1", "allow_http": ["$host"] } }
END
}

mkdir -p "$base/etc" "$base/cache" "$containers"
chmod 0755 "$containers"
configure "$version"

say "what is wrong or doubtful in the two files, and what would be done"
show lint
show plan 901

say "container 901: the run file comes over the network"
show create 901

say "container 902: the run file is in the cache"
show_briefly create 902

say "what nvidia-smi in both says of itself"
for container in 901 902; do
    first=$(lxc-attach --lxcpath "$containers" --name $container --clear-env -- nvidia-smi --help | head -n 1)
    echo "$container: $first"
    case $first in
        *" v$version") ;;
        *) echo "demo: container $container does not have the driver $version" >&2; exit 1 ;;
    esac
done

say "again: there is nothing to do"
show_briefly create 901 902
show status

say "the other three methods, side by side, in container 901"
took=
for method in installer native shared; do
    began=$(date +%s%N)
    show_briefly install 901 --method $method
    took="$took, $method $((($(date +%s%N) - began) / 1000000)) ms"
    lxc-attach --lxcpath "$containers" --name 901 --clear-env -- nvidia-smi --help | head -n 1
done
show store list

say "the configuration asks for $older now: a mismatch, which verify must catch"
configure "$older"
code=0
show verify 901 || code=$?
[ $code = 7 ] || { echo "demo: verify ended with $code instead of 7" >&2; exit 1; }
echo "exit code $code"

say "one command brings both in sync"
show plan --all
show_briefly apply --all
show status

say "the driver out again, and the containers gone"
show_briefly uninstall 901
show_briefly destroy 901 902 --yes
show status
say "seen"
cat << END
two containers made by hand: the driver in both by one command, their settings as they were
two new containers: created with the driver, once from the network and once from the cache
driver $version by each other method:${took#,}
driver $older configured: the mismatch found by verify, with exit code 7
one command: driver $older in both; another: everything gone
What was downloaded and built for the demonstration is in $directory.
END
