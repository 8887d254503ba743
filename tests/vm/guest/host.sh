# Checks of the host: its kernel, the package, and what makes device nodes.

# `!` alone would not end a check.
not() { # COMMAND...
    if "$@"; then return 1; fi
}

the_kernel_is_debian_13s_with_apparmor_and_one_tree_of_cgroups() {
    systemctl is-system-running --wait || systemctl --failed
    uname -r | grep '^6\.12\.'
    [ "$(stat --file-system --format=%T /sys/fs/cgroup)" = cgroup2fs ]
    [ "$(grep -c ' cgroup ' /proc/self/mounts)" = 0 ]
    [ "$(cat /sys/module/apparmor/parameters/enabled)" = Y ]
    grep '^/usr/bin/lxc-start (enforce)$' /sys/kernel/security/apparmor/profiles
    lxc-start --version | grep '^6\.0\.'
}

the_package_installs_and_enables_nothing() {
    dpkg --install /checks/phoenix-nvidia_*.deb
    phoenix-nvidia --version
    [ "$(systemctl list-unit-files --no-legend 'phoenix-nvidia-*' | grep -c ' disabled ')" = 4 ]
    systemd-analyze verify --man=no /usr/lib/systemd/system/phoenix-nvidia-*
}

host_prepare_loads_the_modules_and_makes_every_node() {
    [ ! -e /proc/driver/nvidia ]
    not ls /dev/nvidia*
    phoenix-nvidia host prepare
    for name in nvidia0 nvidia1 nvidiactl nvidia-modeset nvidia-uvm nvidia-uvm-tools; do
        : < /dev/$name
    done
    : < /dev/nvidia-caps/nvidia-cap1
    phoenix-nvidia host prepare | grep 'nothing'
    phoenix-nvidia host show
}
