# Checks of what happens at a boot, and of following the host's driver.

the_units_are_enabled() {
    systemctl enable phoenix-nvidia-host.service phoenix-nvidia-follow.timer phoenix-nvidia-follow.path
    # Another order of loading gives nvidia-uvm another major, which containers do not know.
    echo options nvidia-uvm major=300 > /etc/modprobe.d/checks.conf
}

property() { # UNIT NAME
    systemctl show --property="$2" --value "$1"
}

the_nodes_are_there_before_the_first_container() {
    systemctl is-system-running --wait || systemctl --failed
    [ "$(property phoenix-nvidia-host.service Result)" = success ]
    ended=$(property phoenix-nvidia-host.service ExecMainExitTimestampMonotonic)
    began=$(property lxc.service ExecMainStartTimestampMonotonic)
    [ "$ended" -gt 0 ]
    [ "$ended" -lt "$began" ]
    phoenix-nvidia host show
    grep '^300 nvidia-uvm$' /proc/devices
}

a_container_that_starts_at_boot_has_its_driver() { # CTID
    [ "$(lxc-info --name "$1" --state --no-humanize)" = RUNNING ]
    has_driver "$1" 580.76.05
    inside "$1" 'nvidia-smi'
}

# Either create does it, or what follows the host has done it already.
create_brings_in_the_major_of_this_boot() {
    phoenix-nvidia create 901
    grep 'lxc.cgroup2.devices.allow = c 300:' /var/lib/lxc/901/phoenix-nvidia.conf
    restart 901
    opens 901 /dev/nvidia-uvm
}

# As a package of a newer driver does it: the files, then depmod; the new module is loaded at the next boot, or now.
a_driver_is_installed_on_the_host() { # VERSION
    cp "/usr/src/stand-in/$1"/*.ko "/lib/modules/$(uname -r)/updates"
    depmod
    [ "$(modinfo -F version nvidia)" = "$1" ]
}

reload_the_modules() {
    rmmod nvidia-uvm nvidia
    modprobe nvidia
    modprobe nvidia-uvm
}

has_followed() { # VERSION
    for ctid in 901 902 913; do
        has_driver $ctid "$1" || return 1
    done
}

follow_is_quiet() {
    [ "$(property phoenix-nvidia-follow.service ActiveState)" != activating ]
}

wait_until() { # COMMAND...
    until "$@"; do
        sleep 1
    done
}

the_path_unit_follows_a_driver_that_is_installed() {
    [ "$(property phoenix-nvidia-follow.path ActiveState)" = active ]
    cp /usr/src/stand-in/570.133.20/*.ko "/lib/modules/$(uname -r)/updates"
    reload_the_modules
    a_driver_is_installed_on_the_host 570.133.20
    wait_until has_followed 570.133.20
    wait_until follow_is_quiet
    [ "$(property phoenix-nvidia-follow.service Result)" = success ]
}

the_timer_follows_a_module_that_is_loaded_again() {
    systemctl stop phoenix-nvidia-follow.path
    a_driver_is_installed_on_the_host 580.76.05
    reload_the_modules
    # It looks every five minutes.
    date --set "$(date --date "@$((($(date +%s) / 300 + 1) * 300 - 5))")"
    wait_until has_followed 580.76.05
}

# What the package brought, and what the units made, against the list from before it came.
a_purge_leaves_nothing() {
    phoenix-nvidia uninstall 901
    not inside 901 'command -v nvidia-smi'
    phoenix-nvidia destroy 901 902 903 911 912 913 914 --yes
    dpkg --purge phoenix-nvidia
    [ -z "$(systemctl list-unit-files --no-legend 'phoenix-nvidia-*')" ]
    [ -z "$(systemctl list-units --all --no-legend 'phoenix-nvidia-*')" ]
    rm /etc/modprobe.d/checks.conf
    files > /var/lib/checks/after
    diff /var/lib/checks/before /var/lib/checks/after
}

# All files of the system but those that a system that runs changes, and the operators' own.
files() {
    find / -xdev \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp -o -path /checks -o \
        -path /var/log -o -path /var/cache -o -path /var/tmp -o -path /var/lib/checks -o -path /var/lib/dpkg -o -path /var/lib/systemd -o \
        -path /usr/local/phoenix_hypervisor -o -path '/lib/modules/*' -o -path '/usr/lib/modules/*' -o -path '/etc/lvm/*' \) -prune -o -print | sort
}

what_the_system_has_is_written_down() {
    files > /var/lib/checks/before
}
