//! Every remedy that the doctor prints is carried out as it stands, and the finding is gone; or it says what only a person
//! can do. A rule that neither list names fails the test.

use std::collections::BTreeSet;

use phoenix_nvidia::doctor::Rule;
use serde_json::{Value, json};

use super::{OTHER, VERSION};
use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::test_driver::TestDriver;
use crate::world::World;

const UUID: &str = "GPU-00000000-0000-0000-0000-000000000000";

/// A host with one GPU and container 901, whose driver is verified by the method `native`.
struct Scene {
    world: World,
    host: PretendedGpuHost,
    containers: Value,
}

/// A rule, how its finding comes about, and nothing more: the remedy is the doctor's.
type Case = (&'static str, fn(&mut Scene));

const CASES: &[Case] = &[
    ("node-missing", |it| it.on_host("rm /dev/nvidia-uvm")),
    ("node-wrong", |it| it.on_host("rm /dev/nvidia-uvm; mknod /dev/nvidia-uvm c 99 0; chmod 666 /dev/nvidia-uvm")),
    ("node-access", |it| it.on_host("chmod 600 /dev/nvidia0")),
    ("node-link", |it| it.on_host("rm /dev/char/195:0")),
    ("no-uvm", |it| {
        it.on_host(
            "sed -i /nvidia-uvm/d /proc/devices 2> /dev/null || { t=$(grep -v nvidia-uvm /proc/devices); echo \"$t\" > \
             /proc/devices; }",
        );
        let script =
            "t=$(sed 's/^195 nvidiactl$/195 nvidiactl\\n511 nvidia-uvm/' /proc/devices); echo \"$t\" > /proc/devices";
        it.host.install_program("modprobe", script);
    }),
    ("run-file-unchecked", |it| {
        let path = it.world.cache().join(TestDriver::new(VERSION).file_name());
        fs_err::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap()
            .set_modified(std::time::SystemTime::now())
            .unwrap();
    }),
    ("run-file-wrong", |it| {
        let name = format!("{}.wrong", TestDriver::new(OTHER).file_name());
        fs_err::write(it.world.cache().join(name), "wrong").unwrap();
    }),
    ("run-file-other", |it| {
        TestDriver::new(VERSION).library_size(5000).write_into(&it.world.cache());
        it.run(&["cache", "verify"]).exits(7);
    }),
    ("tree-damaged", |it| {
        let tree = it.world.base().join(format!("lib/nvidia/{VERSION}/tree"));
        fs_err::remove_file(tree.join("nvidia-smi")).unwrap();
    }),
    ("left-over", |it| {
        it.world.inside(901, "mkdir /tmp/phoenix-nvidia-run-0123456789abcdef").ok();
        fs_err::create_dir_all(it.world.base().join("lib/nvidia/.phoenix-nvidia-570.133.20-x")).unwrap();
        fs_err::write(it.world.base().join("lib/receipts/.phoenix-nvidia-901.json"), "{").unwrap();
    }),
    ("receipt-unreadable", |it| fs_err::write(it.world.base().join("lib/receipts/901.json"), "{").unwrap()),
    ("receipt-renamed", |it| {
        fs_err::write(it.world.base().join("lib/receipts/901.json.unreadable-20261123"), "{").unwrap();
    }),
    ("driver-missing", |it| drop(it.run(&["uninstall", "901"]).ok())),
    ("driver-incomplete", |it| {
        let library =
            it.world.rootfs(901).join(TestDriver::new(VERSION).library_path("libcuda").trim_start_matches('/'));
        fs_err::remove_file(library).unwrap();
    }),
    ("installed-not-wanted", |it| {
        it.want(OTHER);
        it.run(&["install", "901"]);
        it.want(VERSION);
    }),
    ("wanted-not-host", |it| it.want(OTHER)),
    ("several-versions", |it| {
        it.world
            .inside(901, "for f in $(find / -xdev -name 'libcuda.so.580*'); do cp $f ${f%580*}570.133.20; done")
            .ok();
    }),
    ("container-node-missing", |it| it.without_lines_of("nvidia-uvm")),
    ("container-node-wrong", |it| {
        it.without_lines_of("nvidiactl");
        it.world.inside(901, "echo something > /dev/nvidiactl").ok();
    }),
    ("container-node-later", |it| {
        it.on_host("mv /dev/nvidia-modeset /dev/later");
        it.restart();
        it.on_host("mv /dev/later /dev/nvidia-modeset");
    }),
    ("settings-drift", |it| {
        it.containers["lxc_configs"]["901"]["memory_mb"] = json!(256);
        it.world.write_containers(&it.containers);
    }),
    ("dri-missing", |it| {
        it.containers["lxc_configs"]["901"]["nvidia_dri"] = json!(true);
        it.world.write_containers(&it.containers);
        it.host.draw_with("0000:01:00.0", 7);
        let made = "mkdir -p /sys/bus/pci/devices/0000:01:00.0/drm/card7 && echo 226:7 > /sys/bus/pci/devices/0000:01:00.0/drm/card7/dev";
        it.on_host("rm -r /sys/bus/pci/devices/0000:01:00.0/drm");
        it.host.install_program("modprobe", &format!("[ \"$*\" = nvidia-drm ] || exec /sbin/modprobe \"$@\"\n{made}"));
    }),
    ("host-driver-bound", |it| {
        let library = it.world.base().join("libcuda.so.1");
        fs_err::write(&library, "the host's").unwrap();
        let target = TestDriver::new(VERSION).library_path("libcuda");
        let line = format!(
            "lxc.mount.entry = {} {} none bind,create=file 0 0\n",
            library.display(),
            target.trim_start_matches('/')
        );
        let config = it.world.lxcpath().join("901/config");
        fs_err::write(&config, fs_err::read_to_string(&config).unwrap() + &line).unwrap();
        it.restart();
    }),
    ("ids-not-assigned", |it| {
        it.on_host(
            "sed /^root:/d /etc/subuid > /run/phoenix-nvidia-subuid; mount --bind /run/phoenix-nvidia-subuid \
             /etc/subuid",
        );
    }),
    ("mixed-methods", |it| {
        it.world.inside(901, &format!("sed -i s/{VERSION}/{OTHER}/ /var/lib/nvidia/log")).ok();
    }),
    ("denied", |it| {
        it.made_anew("unprivileged", json!(false));
        let file = it.world.lxcpath().join("901/phoenix-nvidia.conf");
        let text = fs_err::read_to_string(&file).unwrap();
        let kept = text.lines().filter(|line| !line.contains("devices.allow = c 195:255 "));
        fs_err::write(&file, kept.map(|line| line.to_owned() + "\n").collect::<String>()).unwrap();
        it.restart();
    }),
    ("installed-not-host", |it| {
        it.want(OTHER);
        it.run(&["install", "901"]);
        it.containers["lxc_configs"]["901"]["features"] = json!([]);
        it.want(VERSION);
    }),
    ("foreign-library", |it| {
        let script = "mkdir -p /opt/compat; cp $(find / -xdev -name 'libcuda.so.580*' | head -n 1) /opt/compat/libcuda.so.1; \
                      echo /opt/compat > /etc/ld.so.conf.d/000_cuda.conf; ldconfig";
        it.world.inside(901, script).ok();
    }),
    ("cdi-outdated", |it| {
        it.containers["lxc_configs"]["901"]["nvidia_cdi"] = json!(true);
        it.world.write_containers(&it.containers);
    }),
    ("docker-runtime", |it| it.with_toolkit("", "{}")),
    ("docker-cgroups", |it| it.with_toolkit("", "{}")),
    ("not-running", |it| drop(it.world.lxc("lxc-stop", 901, &["-k"]).ok())),
    ("absent", |it| drop(it.run(&["destroy", "901", "--yes"]).ok())),
];

/// What this test does not carry out, and whose work it is, or which other test does it.
const BY_A_PERSON: &[(&str, &str)] = &[
    ("module-not-loaded", "`host prepare` loads it where it is on disk; tests/it/host"),
    ("gpus-without-module", "the host's driver, and whether it has a GPU; `host prepare` as above"),
    ("reboot-pending", "reboot"),
    ("next-kernel-without-module", "headers of that kernel"),
    ("next-kernel-other-driver", "after the reboot"),
    ("secure-boot-refused", "enrol the key"),
    ("secure-boot-unsigned", "enrol the key"),
    ("gpu-not-driven", "kernel modules, a branch, or a look at the hardware"),
    ("gpu-of-vfio", "`/etc/modprobe.d`"),
    ("driver-drops-gpu", "the host's driver must be of that branch, too"),
    ("nouveau", "reboot"),
    ("node-mode-decimal", "`/etc/modprobe.d`"),
    ("unreadable", "owner and mode, or the disk"),
    ("unwritable", "root, or a remount"),
    ("disk-full", "room"),
    ("lock-held", "a process of somebody's"),
    ("unit-not-enabled", "systemctl; tests/it/doctor/booted_units.rs"),
    ("follow-not-enabled", "systemctl; tests/it/doctor/booted_units.rs"),
    ("configuration", "the operators' file"),
    ("not-examined", "what the cause says"),
    ("reported-not-installed", "which program comes first in the container"),
    ("driver-silent", "the host's driver"),
    ("gpu-missing", "the hardware"),
    ("gpu-unavailable", "the host's GPUs"),
    ("gpu-divided", "which instance is meant"),
    ("gpu-warning", "the hardware"),
    ("container-node-access", "`/etc/modprobe.d`"),
    ("gpu-moved", "which card is meant"),
    ("foreign-driver", "the container's package manager"),
    ("no-glibc", "another template"),
    ("no-space", "room"),
    ("cdi-shadowed", "a file of somebody's; tests/it/job/engines.rs"),
    ("docker-toolkit", "which of the two is meant"),
    ("docker-damaged", "a file of somebody's"),
];

impl Scene {
    fn new() -> Self {
        let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
        let containers = json!({
            "nvidia_driver_version": VERSION, "nvidia_install_method": "native",
            "lxc_configs": { "901": {
                "name": "gpu", "template": world.template(), "unprivileged": true, "memory_mb": 512,
                "features": ["nvidia"], "gpu_assignment": UUID,
            } },
        });
        world.write_containers(&containers);
        world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
        for version in [VERSION, OTHER] {
            TestDriver::new(version).write_into(&world.cache());
        }
        let scene = Self { world, host, containers };
        scene.run(&["host", "prepare"]).ok();
        scene.run(&["cache", "verify"]).ok();
        // Without its module nothing can be verified yet.
        scene.run(&["create", "901"]).exits(7);
        scene.world.pretend_kernel_module(901, VERSION);
        scene.run(&["verify", "901"]).ok();
        scene
    }

    /// The container as it is made with another value of a key.
    fn made_anew(&mut self, key: &str, value: Value) {
        self.run(&["destroy", "901", "--yes"]).ok();
        self.containers["lxc_configs"]["901"][key] = value;
        self.world.write_containers(&self.containers);
        self.run(&["create", "901"]).exits(7);
        self.world.pretend_kernel_module(901, VERSION);
        self.run(&["verify", "901"]).ok();
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.world.run_on(&self.host, words)
    }

    fn on_host(&self, script: &str) {
        self.host.sh(script).ok();
    }

    fn want(&mut self, version: &str) {
        self.containers["nvidia_driver_version"] = json!(version);
        self.world.write_containers(&self.containers);
    }

    /// NVIDIA's toolkit and Docker are in the container, with these configurations.
    fn with_toolkit(&mut self, toolkit: &str, daemon: &str) {
        self.containers["lxc_configs"]["901"]["features"] = json!(["nvidia", "docker"]);
        self.world.write_containers(&self.containers);
        let script = format!(
            "printf '#!/bin/sh\\n' > /usr/bin/nvidia-container-runtime; chmod 755 /usr/bin/nvidia-container-runtime; \
             mkdir -p /etc/docker /etc/nvidia-container-runtime; echo '{daemon}' > /etc/docker/daemon.json; \
             echo '{toolkit}' > /etc/nvidia-container-runtime/config.toml"
        );
        self.world.inside(901, &script).ok();
    }

    /// Somebody takes a node's lines out of the settings, and restarts the container.
    fn without_lines_of(&self, node: &str) {
        self.world.lxc_on(&self.host, "lxc-stop", 901, &["--kill"]).ok();
        let file = self.world.lxcpath().join("901/phoenix-nvidia.conf");
        let text = fs_err::read_to_string(&file).unwrap();
        let kept: String = text
            .lines()
            .filter(|line| !line.contains(&format!("/dev/{node} ")))
            .map(|line| line.to_owned() + "\n")
            .collect();
        fs_err::write(&file, kept).unwrap();
        self.world.lxc_on(&self.host, "lxc-start", 901, &["--daemon"]).ok();
        self.world.inside(901, "true").ok();
    }

    /// The remedies of this rule's findings.
    fn remedies(&self, rule: &str) -> Vec<String> {
        let words = ["doctor", "--all", "--output", "json"];
        let findings: Vec<Value> = serde_json::from_str(&self.run(&words).stdout).unwrap();
        let of_rule = findings.iter().filter(|finding| finding["rule"] == rule);
        of_rule.map(|finding| finding["remedy"].as_str().unwrap().to_owned()).collect()
    }

    /// Does what a remedy says, word for word: commands, one after the other, on the host or in the container.
    fn carry_out(&mut self, remedy: &str) -> String {
        let mut said = Vec::new();
        for step in remedy.split("; ").flat_map(|step| step.split(" && ")).flat_map(|step| step.split(", then ")) {
            let step = step.trim().trim_matches('`');
            let command = step.split(", which").next().unwrap().split(", or").next().unwrap().trim_matches('`');
            if let Some(words) = command.strip_prefix("phoenix-nvidia ") {
                let ran = self.run(&words.split(' ').collect::<Vec<_>>());
                said.push(format!("{command}: {}{}", ran.stdout, ran.stderr));
            } else if let Some(command) = command.strip_suffix(" in the container") {
                self.in_container(command.strip_prefix("then run ").unwrap_or(command).trim_matches('`'));
                said.push(command.to_owned());
            } else if ["rm ", "modprobe ", "echo root:"].iter().any(|it| command.starts_with(it)) {
                self.on_host(command);
                said.push(command.to_owned());
            } else if let Some(file) = step.strip_prefix("remove these lines from `") {
                self.take_out(file.split('`').next().unwrap());
                self.restart();
                said.push(step.to_owned());
            } else if command.starts_with("restart container ") {
                self.restart();
                said.push(command.to_owned());
            } else if let Some((_, file)) =
                step.split_once("or `").filter(|(_, file)| file.ends_with("`, which puts it first"))
            {
                self.in_container(&format!("rm {}", file.split('`').next().unwrap()));
                said.push(step.to_owned());
            } else if let Some(list) = command.strip_prefix("add \"nvidia\" to `lxc_configs.901.") {
                self.containers["lxc_configs"]["901"][list] = json!(["nvidia"]);
                self.world.write_containers(&self.containers);
                said.push(command.to_owned());
            } else if let Some(version) = command.strip_prefix("set `nvidia_driver_version` to \"") {
                self.want(version.trim_end_matches('"'));
                said.push(command.to_owned());
            }
        }
        said.join("; ")
    }

    /// Takes out of a container's file what brings the host's driver in.
    fn take_out(&self, file: &str) {
        let text = fs_err::read_to_string(file).unwrap();
        let kept = text.lines().filter(|line| !line.contains("libcuda.so.1"));
        fs_err::write(file, kept.map(|line| line.to_owned() + "\n").collect::<String>()).unwrap();
    }

    fn restart(&self) {
        self.world.lxc_on(&self.host, "lxc-stop", 901, &["--kill"]).ok();
        self.world.lxc_on(&self.host, "lxc-start", 901, &["--daemon"]).ok();
        self.world.inside(901, "true").ok();
    }

    fn in_container(&self, command: &str) {
        // No Docker runs there.
        if command == "restart Docker" {
            return;
        }
        match command.strip_prefix("remove what `").and_then(|rest| rest.split_once('`')) {
            Some((find, _)) => self.world.inside(901, &format!("rm -f $({find})")).ok(),
            None => self.world.inside(901, command).ok(),
        };
    }
}

#[test]
fn every_remedy_that_is_a_command_works() {
    let wrong: Vec<String> = CASES.iter().filter_map(|(rule, make)| tried(rule, *make).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Why a rule's remedy does not work.
fn tried(rule: &str, make: fn(&mut Scene)) -> Result<(), String> {
    let mut scene = Scene::new();
    let before = scene.remedies(rule);
    make(&mut scene);
    let remedies = scene.remedies(rule);
    if !before.is_empty() || remedies.is_empty() {
        return Err(format!("{rule}: before {before:?}, after it was brought about {remedies:?}"));
    }
    let said: Vec<String> = remedies.iter().map(|remedy| scene.carry_out(remedy)).collect();
    match scene.remedies(rule).is_empty() {
        true => Ok(()),
        false => Err(format!("{rule}: {remedies:?} was done, and it is still there: {said:?}")),
    }
}

#[test]
fn every_rule_is_tried_or_left_to_a_person() {
    let known: Vec<&str> =
        CASES.iter().map(|(rule, _)| *rule).chain(BY_A_PERSON.iter().map(|(rule, _)| *rule)).collect();
    let all: BTreeSet<&str> = Rule::ALL.iter().map(|rule| rule.name()).collect();
    assert_eq!(known.iter().copied().collect::<BTreeSet<_>>(), all);
    assert_eq!(known.len(), all.len(), "a rule is in both lists");
}
