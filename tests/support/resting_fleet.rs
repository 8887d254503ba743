//! Many stopped containers that are nothing but directories: a root with the files of a driver, and the receipt of them.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::path::Path;

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::world::World;

/// The version of the driver in all of them.
pub const VERSION: &str = "580.76.05";

// How many files and links a receipt names here; the numbers are made up.
const FILES: usize = 121;
const LINKS: usize = 66;

/// Their CTIDs.
pub fn ctids(count: usize) -> std::ops::Range<usize> {
    1000..1000 + count
}

/// Makes them, without a line of settings: `apply` writes these.
pub fn make(world: &World, count: usize) {
    configure(world, count);
    for ctid in ctids(count) {
        let directory = world.lxcpath().join(ctid.to_string());
        let rootfs = directory.join("rootfs");
        fs_err::create_dir_all(rootfs.join("usr/lib/x86_64-linux-gnu/nvidia")).unwrap();
        let config = format!("lxc.rootfs.path = dir:{}\nlxc.uts.name = gpu-{ctid}\n", rootfs.display());
        fs_err::write(directory.join("config"), config).unwrap();
        let receipt = world.base().join(format!("lib/receipts/{ctid}.json"));
        fs_err::create_dir_all(receipt.parent().unwrap()).unwrap();
        fs_err::write(receipt, driver_in(&rootfs).to_string()).unwrap();
    }
}

/// Starts them, on a host: each has a `sleep` out of the host's `/usr` for its init.
pub fn start(world: &World, host: &PretendedGpuHost, count: usize) {
    const LINES: &str = "lxc.include = /usr/share/lxc/config/common.conf\nlxc.net.0.type = empty\n\
        lxc.apparmor.profile = unconfined\nlxc.mount.entry = /usr host none bind,ro,create=dir 0 0\n\
        lxc.init.cmd = /host/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/lib/x86_64-linux-gnu /host/bin/sleep infinity\n";
    for ctid in ctids(count) {
        let directory = world.lxcpath().join(ctid.to_string());
        for name in ["dev", "proc", "sys"] {
            fs_err::create_dir_all(directory.join("rootfs").join(name)).unwrap();
        }
        let config = fs_err::read_to_string(directory.join("config")).unwrap();
        // What the program writes comes last.
        fs_err::write(directory.join("config"), format!("{LINES}{config}")).unwrap();
        world.lxc_on(host, "lxc-start", ctid, &[]).ok();
    }
}

/// Configures them, and makes nothing.
pub fn configure(world: &World, count: usize) {
    let entry = |ctid: usize| {
        let entry = json!({ "name": format!("gpu-{ctid}"), "template": world.template(), "gpu_assignment": "0", "features": ["nvidia"] });
        (ctid.to_string(), entry)
    };
    let containers: serde_json::Map<String, Value> = ctids(count).map(entry).collect();
    world.write_containers(&json!({ "nvidia_driver_version": VERSION, "lxc_configs": containers }));
    world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
}

/// Writes the files into a root and gives the receipt.
fn driver_in(rootfs: &Path) -> Value {
    let directory = "/usr/lib/x86_64-linux-gnu";
    let name = |index: usize| match index {
        0 => format!("{directory}/libcuda.so.{VERSION}"),
        1 => format!("{directory}/libnvidia-ml.so.{VERSION}"),
        index => format!("{directory}/nvidia/part-{index}.so.{VERSION}"),
    };
    let on_host = |path: &str| rootfs.join(path.trim_start_matches('/'));
    let files = (0..FILES).map(|index| {
        fs_err::write(on_host(&name(index)), "driver").unwrap();
        json!({ "path": name(index), "size": "driver".len() })
    });
    let files: Vec<Value> = files.collect();
    let links = (0..LINKS).map(|index| {
        let (path, target) = (format!("{directory}/nvidia/part-{index}.so.1"), format!("part-{index}.so.{VERSION}"));
        std::os::unix::fs::symlink(&target, on_host(&path)).unwrap();
        json!({ "path": path, "target": target })
    });
    json!({
        "format": 2, "version": VERSION, "way": "runfile", "profile": "full", "run_file_sha256": "0".repeat(64),
        "installed_at": "2026-11-23T10:00:00Z", "written_by": "phoenix-nvidia 0.1.0",
        "links": links.collect::<Vec<_>>(), "files": files,
    })
}
