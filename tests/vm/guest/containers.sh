# Checks of containers: the four methods, devices, hooks, and what AppArmor says to all of it.

ctid_of() { # PRIVILEGE
    case $1 in privileged) echo 901 ;; unprivileged) echo 902 ;; esac
}

inside() { # CTID SCRIPT
    lxc-attach --name "$1" --clear-env -- sh -c "$2"
}

restart() { # CTID
    lxc-stop --name "$1" --kill
    lxc-start --name "$1"
}

# What nvidia-smi in it says of itself.
has_driver() { # CTID VERSION
    inside "$1" 'nvidia-smi --help' | grep "v$2$"
}

is_stopped() { # CTID
    [ "$(lxc-info --name "$1" --state --no-humanize)" = STOPPED ]
}

the_configuration_and_the_run_files_are_there() {
    etc=/usr/local/phoenix_hypervisor/etc
    mkdir -p $etc
    cp /checks/phoenix_*.json $etc
    for file in /checks/*.run; do
        phoenix-nvidia cache import "$file"
    done
    for version in $(cat /checks/versions); do
        phoenix-nvidia store extract "$version"
    done
    phoenix-nvidia lint
}

a_container_is_created() { # PRIVILEGE
    ctid=$(ctid_of "$1")
    phoenix-nvidia create "$ctid"
    init=$(lxc-info --name "$ctid" --pid --no-humanize)
    # Its AppArmor profile is one of its own, made by LXC.
    grep "^lxc-${ctid}_.* (enforce)$" "/proc/$init/attr/current"
    # The program that started it is confined, too.
    monitor=$(cut -d ' ' -f 4 "/proc/$init/stat")
    grep '^/usr/bin/lxc-start (enforce)$' "/proc/$monitor/attr/current"
}

the_driver_gets_in_and_stays() { # PRIVILEGE METHOD
    ctid=$(ctid_of "$1")
    phoenix-nvidia install "$ctid" --method "$2"
    has_driver "$ctid" 580.76.05
    restart "$ctid"
    phoenix-nvidia verify "$ctid"
    phoenix-nvidia status "$ctid" --output json | grep "\"$2\""
}

a_container_with_systemd_is_created_and_shut_down() {
    phoenix-nvidia create 903 --boot-timeout 180
    inside 903 'systemctl is-system-running; cat /proc/1/comm' | grep '^systemd$'
    has_driver 903 580.76.05
    phoenix-nvidia create 903 | grep 'nothing to do'
    # It is asked to, and does it in time.
    lxc-stop --name 903 --timeout 60 --nokill
    is_stopped 903
}

opens() { # CTID PATH
    inside "$1" ": < $2"
}

# The device cgroup is a program of eBPF here. That a node exists is not yet leave to open it.
an_assigned_device_opens_and_another_does_not() { # PRIVILEGE
    ctid=$(ctid_of "$1")
    for name in nvidia0 nvidiactl nvidia-modeset nvidia-uvm nvidia-uvm-tools; do
        opens "$ctid" /dev/$name
    done
    [ -c /dev/nvidia1 ]
    not inside "$ctid" 'test -e /dev/nvidia1'
    if [ "$1" = privileged ]; then
        inside "$ctid" 'mknod /root/nvidia1 c 195 1'
        inside "$ctid" ': < /root/nvidia1' 2>&1 | grep 'Operation not permitted'
        inside "$ctid" 'rm /root/nvidia1'
    else
        inside "$ctid" 'mknod /root/nvidia1 c 195 1' 2>&1 | grep 'Operation not permitted'
    fi
}

# Installs 570 where the host has 580: the verdict is a mismatch, exit code 7, and the next start meets it.
create_with_the_other_driver() { # CTID
    code=0
    phoenix-nvidia create "$1" || code=$?
    [ $code = 7 ]
    has_driver "$1" 570.133.20
    lxc-stop --name "$1" --kill
}

a_hook_keeps_a_container_from_starting() {
    create_with_the_other_driver 911
    not lxc-start --name 911
    is_stopped 911
    grep "container 911: .*driver 570.133.20 is installed, but the host's kernel module is 580.76.05" /var/log/phoenix_hypervisor.log
}

a_hook_makes_a_node_that_is_missing() {
    lxc-stop --name 912 --kill
    rm /dev/nvidia-uvm
    lxc-start --name 912
    [ -c /dev/nvidia-uvm ]
}

a_hook_brings_the_driver_in_sync() { # CTID
    create_with_the_other_driver "$1"
    lxc-start --name "$1"
    has_driver "$1" 580.76.05
    # Once more, with nothing to do.
    restart "$1"
    has_driver "$1" 580.76.05
}

# As a boot finds it.
a_hook_mounts_the_image_of_a_shared_driver() {
    for ctid in 913 914; do
        lxc-stop --name $ctid --kill
    done
    lxc-stop --name 901 --kill
    lxc-stop --name 902 --kill
    umount --all-targets /usr/local/phoenix_hypervisor/lib/mounts/* || true
    not grep /usr/local/phoenix_hypervisor/lib/mounts /proc/self/mounts
    lxc-start --name 913
    has_driver 913 580.76.05
    for ctid in 901 902; do
        phoenix-nvidia create $ctid
    done
}

a_thin_volume_carries_a_container() {
    truncate --size=1G /var/lib/thin.img
    loop=$(losetup --find --show /var/lib/thin.img)
    vgcreate checks "$loop"
    lvcreate --yes --type thin-pool --size 600M --name pool checks
    lvcreate --yes --virtualsize 4G --thinpool pool --name containers checks
    mkfs.ext4 -q /dev/checks/containers
    mkdir -p /srv/thin
    mount /dev/checks/containers /srv/thin
    for method in native shared runfile installer; do
        phoenix-nvidia --lxcpath /srv/thin create 921 --method $method
        lxc-stop --lxcpath /srv/thin --name 921 --kill
        lxc-start --lxcpath /srv/thin --name 921
        phoenix-nvidia --lxcpath /srv/thin verify 921
    done
    phoenix-nvidia --lxcpath /srv/thin destroy 921 --yes
    umount /srv/thin
    vgremove --yes checks
    losetup --detach "$loop"
    rm /var/lib/thin.img
    rmdir /srv/thin
}

a_zfs_pool_carries_a_container() {
    modinfo zfs > /dev/null 2>&1 || { echo "the kernel has no zfs: Debian has it as source alone, for DKMS"; exit 77; }
    exit 1
}

# Not those of the container with a systemd, which tries what its profile denies it.
denials() {
    journalctl --boot --dmesg --output=cat | grep 'apparmor="DENIED"' | grep -v 'profile="lxc-903_'
}

apparmor_has_denied_nothing() {
    not denials
}

a_hook_tells_of_a_profile_that_it_may_not_leave() {
    printf 'profile checks flags=(attach_disconnected) {\n file,\n capability,\n network,\n}\n' | apparmor_parser --add
    told=$(sh -c 'echo changeprofile checks > /proc/self/attr/current; exec phoenix-nvidia hook 913 lxc pre-start' 2>&1)
    echo "$told" | grep "the AppArmor profile \`checks\` cannot be left"
}

# Else the check of denials could not fail. It is what a hook that stayed in its profile would meet.
a_denial_would_have_been_seen() {
    not sh -c 'echo changeprofile /usr/bin/lxc-start > /proc/self/attr/current; mount --bind /root /mnt'
    denials | grep 'profile="/usr/bin/lxc-start"'
}
