//! A node of Proxmox VE in a world: what is `/etc/pve` there, storage pools, and the stand-in `pct`.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use phoenix_nvidia::hypervisor::proxmox::Node;
use serde_json::{Value, json};

use crate::ran::Ran;
use crate::world::World;

/// The template of every node, as `pct` calls it.
pub const TEMPLATE: &str = "local:vztmpl/debian-12.tar.zst";

/// See the module.
pub struct ProxmoxNode {
    directory: PathBuf,
}

impl ProxmoxNode {
    /// A node with a pool of files, `local`, which has the template, and one of ZFS, `tank`.
    pub fn new(world: &World) -> Self {
        let node = Self { directory: world.scratch("") };
        for path in ["pve/lxc", "volumes/local/template/cache", "volumes/tank", "tools"] {
            fs_err::create_dir_all(node.directory.join(path)).unwrap();
        }
        let template = node.directory.join("volumes/local/template/cache/debian-12.tar.zst");
        fs_err::os::unix::fs::symlink(fs_err::canonicalize(world.template()).unwrap(), template).unwrap();
        let local = node.directory.join("volumes/local");
        let storage = format!(
            "dir: local\n\tpath {}\n\tcontent vztmpl,rootdir\n\nzfspool: tank\n\tpool tank\n\tcontent rootdir,images\n",
            local.display()
        );
        node.write("storage.cfg", &storage);
        // A node of its own name: a task is known by that and the CTID, and other tests run beside this one.
        let name = node.directory.file_name().unwrap();
        node.set_name(&name.to_string_lossy());
        node.set_guests(&json!({}));
        node.set_version("6.1.10");
        let stand_in = stand_in_path();
        node.write_tool(
            "pct",
            &format!("STAND_IN_NODE={} exec {} \"$@\"", node.directory.display(), stand_in.display()),
        );
        let version = node.directory.join("version");
        node.write_tool("dpkg-query", &format!("cat {}", version.display()));
        node
    }

    /// Adds a pool of files, `files`, in which a volume is a file with a file system in it; it needs loop devices.
    pub fn add_pool_of_files(&self) {
        let directory = self.directory.join("volumes/files");
        fs_err::create_dir_all(&directory).unwrap();
        let pools = fs_err::read_to_string(self.pve("storage.cfg")).unwrap();
        let pool = format!("dir: files\n\tpath {}\n\tcontent rootdir\n", directory.display());
        self.write("storage.cfg", &format!("{pools}\n{pool}"));
    }

    /// The file that is a container's root in the pool `files`.
    pub fn volume_file(&self, ctid: u32) -> PathBuf {
        self.directory.join(format!("volumes/files/images/{ctid}/vm-{ctid}-disk-0.raw"))
    }

    /// Changes the root of a stopped container in the pool `files` behind everybody's back.
    pub fn change_volume(&self, ctid: u32, change: impl FnOnce(&Path)) {
        let (place, file) = (tempfile::tempdir().unwrap(), self.volume_file(ctid));
        Ran::of("mount", &["-o".as_ref(), "loop".as_ref(), file.as_os_str(), place.path().as_os_str()], &[]).ok();
        change(place.path());
        Ran::of("umount", &[place.path()], &[]).ok();
    }

    /// The words that call `pct` of this node.
    pub fn pct(&self) -> PathBuf {
        self.directory.join("tools/pct")
    }

    /// Writes a hookscript, as `pct` calls it, and gives its volume.
    pub fn write_hookscript(&self, script: &str) -> &'static str {
        let directory = self.directory.join("volumes/local/snippets");
        fs_err::create_dir_all(&directory).unwrap();
        let path = directory.join("hook.sh");
        fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        "local:snippets/hook.sh"
    }

    /// A file below what is `/etc/pve`.
    pub fn pve(&self, name: &str) -> PathBuf {
        self.directory.join("pve").join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs_err::write(self.pve(name), text).unwrap();
    }

    /// A container's file.
    pub fn conf(&self, ctid: u32) -> String {
        fs_err::read_to_string(self.pve(&format!("lxc/{ctid}.conf"))).unwrap()
    }

    /// Changes a container's file as an editor would.
    pub fn edit(&self, ctid: u32, change: impl FnOnce(&str) -> String) {
        let text = change(&self.conf(ctid));
        let name = format!("lxc/{ctid}.conf");
        self.write("edited", &text);
        // As a whole: somebody may be reading it.
        fs_err::rename(self.pve("edited"), self.pve(&name)).unwrap();
    }

    /// Guests beside those of the files: `{ "950": { "node": "pve2", "type": "lxc" } }`.
    pub fn set_guests(&self, guests: &Value) {
        self.write(".vmlist", &json!({ "version": 1, "ids": guests }).to_string());
    }

    /// The node's own name.
    pub fn set_name(&self, name: &str) {
        self.write(".members", &json!({ "nodename": name, "version": 0 }).to_string());
    }

    /// See [`Self::set_name`].
    pub fn name(&self) -> String {
        let members: Value = serde_json::from_slice(&fs_err::read(self.pve(".members")).unwrap()).unwrap();
        members["nodename"].as_str().unwrap().to_owned()
    }

    /// The version of pve-container.
    pub fn set_version(&self, version: &str) {
        fs_err::write(self.directory.join("version"), version).unwrap();
    }

    /// The directory of a container's root.
    pub fn root(&self, pool: &str, ctid: u32) -> PathBuf {
        self.directory.join("volumes").join(pool).join(format!("subvol-{ctid}-disk-0"))
    }

    /// The calls of `pct` so far, with this world's paths and CTIDs distinguished from the words; then none.
    pub fn calls(&self) -> Vec<String> {
        let path = self.directory.join("calls");
        let text = fs_err::read_to_string(&path).unwrap_or_default();
        let _ = fs_err::remove_file(path);
        let directory = self.directory.display().to_string();
        text.lines().map(|line| line.replace(directory.trim_end_matches('/'), "[world]")).collect()
    }

    /// Lets a tool of the host note each call of it in a file, which is given.
    pub fn note_calls_of(&self, tool: &str) -> PathBuf {
        let notes = self.directory.join(format!("{tool}-calls"));
        fs_err::write(&notes, "").unwrap();
        let mut places = std::env::split_paths(&std::env::var_os("PATH").unwrap()).collect::<Vec<_>>().into_iter();
        let real = places.find_map(|place| Some(place.join(tool)).filter(|path| path.is_file())).unwrap();
        // What the stand-in itself calls is none of the program's.
        let of_stand_in = "tr '\\0' ' ' < /proc/$PPID/cmdline | grep -q stand_in_pct";
        self.write_tool(
            tool,
            &format!("{of_stand_in} || echo \"$@\" >> {}\nexec {} \"$@\"", notes.display(), real.display()),
        );
        notes
    }

    /// Lets the next copy of a volume come to no end, and no other; what is there when that has begun.
    pub fn hang_next_copy(&self) -> PathBuf {
        let begun = self.directory.join("copy-begun");
        let _ = fs_err::remove_dir(&begun);
        let script = format!("mkdir {} 2> /dev/null && sleep 1000\nexec /bin/cp \"$@\"", begun.display());
        self.write_tool("cp", &script);
        begun
    }

    /// Waits for every `pct` of this node: one whose caller was killed comes to its end by itself.
    pub fn wait_for_pct(&self) {
        let (directory, tool) = (self.directory.display().to_string(), self.directory.join("tools/pct"));
        let is_one = |process: &Path| {
            let text = |name: &str| {
                fs_err::read(process.join(name)).map(|it| String::from_utf8_lossy(&it).into_owned()).unwrap_or_default()
            };
            let is_stand_in = fs_err::read_link(process.join("exe")).is_ok_and(|exe| exe.ends_with("stand_in_pct"));
            text("cmdline").contains(&tool.display().to_string())
                || (is_stand_in && text("environ").contains(directory.trim_end_matches('/')))
        };
        while fs_err::read_dir("/proc").unwrap().flatten().any(|entry| is_one(&entry.path())) {
            std::thread::yield_now();
        }
    }

    /// Containers, volumes and directories of liblxc that are there.
    pub fn left(&self) -> Vec<String> {
        let places = ["pve/lxc", "volumes/tank", "lxc", "base/lib/proxmox"];
        let entries =
            places.iter().flat_map(|place| fs_err::read_dir(self.directory.join(place)).into_iter().flatten());
        entries.map(|entry| entry.unwrap().path().display().to_string()).collect()
    }

    /// How the library is told of the node.
    pub fn settings(&self) -> Node {
        Node {
            root: self.directory.join("pve"),
            lxcpath: self.directory.join("lxc"),
            tools: Some(self.directory.join("tools")),
            patience: Duration::from_secs(1),
        }
    }

    /// How the program is told of it, beside what it is told of the world.
    pub fn environment(&self) -> [(&'static str, OsString); 2] {
        let path = std::env::var("PATH").unwrap();
        [
            ("PHOENIX_PVE_ROOT", self.directory.join("pve").into_os_string()),
            ("PATH", format!("{}:{path}", self.directory.join("tools").display()).into()),
        ]
    }

    fn write_tool(&self, name: &str, script: &str) {
        let path = self.directory.join("tools").join(name);
        fs_err::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs_err::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
}

/// Where cargo puts the example `stand_in_pct`.
fn stand_in_path() -> PathBuf {
    let program = std::env::current_exe().unwrap();
    let profile = program.ancestors().find(|path| path.join("examples").is_dir()).unwrap_or(Path::new("target/debug"));
    let path = profile.join("examples/stand_in_pct");
    assert!(path.exists(), "`{}` is missing: `cargo build --example stand_in_pct` makes it", path.display());
    path
}
