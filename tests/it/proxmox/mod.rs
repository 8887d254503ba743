//! What is Proxmox VE's own: the calls of `pct`, sections of a container's file, locks, clusters, what a kill leaves.

mod calls;
mod cluster;
mod contract;
mod hookscript;
mod interrupted;
mod mistakes;
mod mounted;
mod nodes;
mod optional_nodes;
mod ownership;
mod refusals;
mod secured;
mod stopped;
mod what_is_missing;

use std::cell::RefCell;

use phoenix_nvidia::config::{Configuration, Context, Layout};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::event::NoListener;
use phoenix_nvidia::hypervisor::proxmox::Proxmox;
use phoenix_nvidia::sys::cancel::Cancel;
use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::proxmox_node::{ProxmoxNode, TEMPLATE};
use crate::ran::Ran;
use crate::world::World;

const VERSION: &str = "580.76.05";

/// A node and the configuration of its containers.
struct Job {
    // First: the containers end before the node's files go.
    world: World,
    node: ProxmoxNode,
    containers: RefCell<Value>,
}

impl Job {
    /// One container, 901, from the template, in the pool that has snapshots.
    fn new() -> Self {
        let world = World::new();
        let node = ProxmoxNode::new(&world);
        let job = Self {
            world,
            node,
            containers: RefCell::new(json!({ "nvidia_driver_version": VERSION, "lxc_configs": {} })),
        };
        job.world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
        job.add(901, json!({ "name": "gpu1", "template": TEMPLATE, "storage_pool": "tank", "unprivileged": true }));
        job
    }

    fn add(&self, ctid: u32, entry: Value) {
        self.containers.borrow_mut()["lxc_configs"][ctid.to_string()] = entry;
        self.world.write_containers(&self.containers.borrow());
    }

    fn set(&self, key: &str, value: impl Into<Value>) {
        self.containers.borrow_mut()["lxc_configs"]["901"][key] = value.into();
        self.world.write_containers(&self.containers.borrow());
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.run_on(None, words)
    }

    fn run_on(&self, host: Option<&PretendedGpuHost>, words: &[&str]) -> Ran {
        self.world.run_with(
            host,
            &[words, &["--backend", "proxmox", "--lock-timeout", "1"]].concat(),
            &self.node.environment(),
        )
    }

    /// `pct` itself, on a node with GPUs.
    fn pct_on(&self, host: &PretendedGpuHost, words: &[&str]) -> Ran {
        host.run(self.node.pct().to_str().unwrap(), words, &[("LC_ALL", "C.UTF-8".into())])
    }

    /// Lets `pct` call this when it starts 901, in the world of this test.
    fn hook_on(&self, host: &PretendedGpuHost, command: &str) {
        let environment = [&self.world.environment()[..], &self.node.environment()].concat();
        let variables: Vec<String> = environment.iter().map(|(key, value)| format!("{key}={value:?}")).collect();
        let volume = self.node.write_hookscript(&format!("export {}\n{command}", variables.join(" ")));
        self.pct_on(host, &["set", "901", "--hookscript", volume]).ok();
    }

    /// The same with patience for the locks of others.
    fn run_patiently(&self, words: &[&str]) -> Ran {
        let words = [words, &["--backend", "proxmox", "--lock-timeout", "60"]].concat();
        self.world.run_with(None, &words, &self.node.environment())
    }

    fn configuration(&self) -> Configuration {
        Configuration::load(&Layout::new(self.world.base())).unwrap()
    }

    /// Lets `work` have the backend itself.
    fn with_proxmox<T>(&self, work: impl FnOnce(&Proxmox<'_>) -> T) -> T {
        let (layout, cancel) = (Layout::new(self.world.base()), Cancel::new().unwrap());
        work(&Proxmox::new(self.node.settings(), Context::new(&layout, &NoListener, &cancel)))
    }

    /// What liblxc has started a container from.
    fn liblxc_config(&self, ctid: u32) -> String {
        fs_err::read_to_string(self.world.lxcpath().join(format!("{ctid}/config"))).unwrap()
    }

    /// What a shell script in a running container prints.
    #[track_caller]
    fn inside(&self, ctid: u32, script: &str) -> String {
        self.world.inside(ctid, script).ok().stdout
    }

    /// What comes after `error: container 901: ` when `create 901` is refused, with the hint.
    #[track_caller]
    fn refusal(&self, code: i32) -> String {
        let said = self.run(&["create", "901"]).exits(code).stderr;
        said.trim_start_matches("error: ").trim_end().replace("\n\nhint: ", " | ")
    }
}

fn id(ctid: u32) -> ContainerId {
    ContainerId::new(ctid.into()).unwrap()
}

/// A host with this module and two GPUs.
fn two_gpus() -> PretendedGpuHost {
    PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).start()
}
