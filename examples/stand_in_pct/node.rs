//! The node: where its files lie, who has which CTID, and the tools of liblxc.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::Failure;
use crate::file::File;

/// The directory of the environment.
pub(crate) struct Node {
    directory: PathBuf,
}

impl Node {
    pub(crate) fn of_environment() -> Result<Self, Failure> {
        match std::env::var_os("STAND_IN_NODE") {
            Some(directory) => Ok(Self { directory: directory.into() }),
            None => Err(Failure::new("stand-in: `STAND_IN_NODE` names no directory")),
        }
    }

    /// A word that no other node has.
    pub(crate) fn name(&self) -> String {
        self.directory.file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    pub(crate) fn log_call(&self, words: &[String]) -> Result<(), Failure> {
        let mut file = fs_err::OpenOptions::new().create(true).append(true).open(self.directory.join("calls"))?;
        // In one piece, for calls that run at the same time.
        Ok(file.write_all(format!("pct {}\n", words.join(" ")).as_bytes())?)
    }

    /// Proxmox's own lock on a container's file, which a call waits ten seconds for; for a test that is about it, as many
    /// milliseconds as the file `lock-milliseconds` says.
    pub(crate) fn lock(&self, id: &str, verb: &str) -> Result<fs_err::File, Failure> {
        let directory = self.directory.join("locks");
        fs_err::create_dir_all(&directory)?;
        let path = directory.join(format!("pve-config-{id}.lock"));
        let file = fs_err::File::create(&path)?;
        let (waiting, locked) = (file.file().try_clone()?, std::sync::mpsc::channel());
        std::thread::spawn(move || locked.0.send(waiting.lock()));
        // The lock is that of the open file, whichever of its handles it was asked with.
        let patience = fs_err::read_to_string(self.directory.join("lock-milliseconds")).ok();
        let patience = patience.and_then(|text| text.trim().parse().ok()).unwrap_or(10_000);
        match locked.1.recv_timeout(std::time::Duration::from_millis(patience)) {
            Ok(result) => result?,
            Err(_) => {
                let code = if ["set", "mount"].contains(&verb) { 4 } else { 255 };
                return Err(Failure::with_code(code, format!("can't lock file '{}' - got timeout", path.display())));
            }
        }
        Ok(file)
    }

    pub(crate) fn pve(&self, name: &str) -> PathBuf {
        self.directory.join("pve").join(name)
    }

    /// What is `/var/lib/lxc/ID`.
    pub(crate) fn lxc(&self, id: &str) -> PathBuf {
        self.directory.join("lxc").join(id)
    }

    pub(crate) fn lxcpath(&self) -> PathBuf {
        self.directory.join("lxc")
    }

    /// Where a volume lies: `pool:subvol-901-disk-0`, `pool:901/vm-901-disk-0.raw`.
    pub(crate) fn volume(&self, volume: &str) -> PathBuf {
        let (pool, name) = volume.split_once(':').unwrap_or(("none", volume));
        let pool = self.directory.join("volumes").join(pool);
        if name.contains('/') { pool.join("images").join(name) } else { pool.join(name) }
    }

    pub(crate) fn pools(&self) -> PathBuf {
        self.directory.join("volumes")
    }

    fn conf(&self, id: &str) -> PathBuf {
        self.pve("lxc").join(format!("{id}.conf"))
    }

    pub(crate) fn load(&self, id: &str) -> Result<File, Failure> {
        match fs_err::read_to_string(self.conf(id)) {
            Ok(text) => Ok(File::parse(&text)),
            Err(_) => {
                let file = format!("nodes/{}/lxc/{id}.conf", self.own_name()?);
                Err(Failure::with_code(2, format!("Configuration file '{file}' does not exist")))
            }
        }
    }

    /// The file of a container that nothing has locked.
    pub(crate) fn load_unlocked(&self, id: &str) -> Result<File, Failure> {
        let file = self.load(id)?;
        match file.main.keys.get("lock") {
            Some(lock) => Err(Failure::new(format!("CT is locked ({lock})"))),
            None => Ok(file),
        }
    }

    pub(crate) fn save(&self, id: &str, file: &File) -> Result<(), Failure> {
        let temporary = self.conf(&format!("{id}.{}", std::process::id()));
        fs_err::write(&temporary, file.text())?;
        Ok(fs_err::rename(temporary, self.conf(id))?)
    }

    pub(crate) fn forget(&self, id: &str) -> Result<(), Failure> {
        fs_err::remove_file(self.conf(id))?;
        self.write_guest_list()
    }

    /// Fails where somebody in the cluster has the CTID.
    pub(crate) fn require_free(&self, id: &str) -> Result<(), Failure> {
        match self.guests()?.get(id) {
            Some((node, kind)) => {
                let what = if kind == "lxc" { "CT" } else { "VM" };
                let code = if *node == self.own_name()? { 255 } else { 2 };
                Err(Failure::with_code(code, format!("{what} {id} already exists on node '{node}'")))
            }
            None => Ok(()),
        }
    }

    /// The node's own name.
    pub(crate) fn own_name(&self) -> Result<String, Failure> {
        let members: serde_json::Value = serde_json::from_slice(&fs_err::read(self.pve(".members"))?)?;
        Ok(members["nodename"].as_str().unwrap_or_default().to_owned())
    }

    fn guests(&self) -> Result<BTreeMap<String, (String, String)>, Failure> {
        let list: serde_json::Value = serde_json::from_slice(&fs_err::read(self.pve(".vmlist"))?)?;
        let entries = list["ids"].as_object().into_iter().flatten();
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Ok(entries.map(|(id, guest)| (id.clone(), (text(&guest["node"]), text(&guest["type"])))).collect())
    }

    /// Writes `.vmlist` anew: the guests of others stay, ours are those with a file.
    pub(crate) fn write_guest_list(&self) -> Result<(), Failure> {
        let mut guests = self.guests()?;
        let name = self.own_name()?;
        guests.retain(|_, (node, kind)| *node != name || kind != "lxc");
        for entry in fs_err::read_dir(self.pve("lxc"))? {
            let file = entry?.file_name().to_string_lossy().into_owned();
            if let Some(id) = file.strip_suffix(".conf").filter(|id| id.parse::<u32>().is_ok()) {
                guests.insert(id.to_owned(), (name.clone(), "lxc".to_owned()));
            }
        }
        let ids: serde_json::Map<String, serde_json::Value> = guests
            .into_iter()
            .map(|(id, (node, kind))| (id, serde_json::json!({ "node": node, "type": kind, "version": 1 })))
            .collect();
        let list = serde_json::json!({ "version": 1, "ids": ids });
        Ok(fs_err::write(self.pve(".vmlist"), serde_json::to_vec_pretty(&list)?)?)
    }

    /// The process of a container's init, when it runs.
    pub(crate) fn init(&self, id: &str) -> Result<Option<u32>, Failure> {
        if !self.lxc(id).join("config").exists() {
            return Ok(None);
        }
        let said = self.tool("lxc-info", id, &["-p", "-H"])?;
        Ok(said.trim().parse().ok())
    }

    /// Runs one of liblxc's tools on a container; what it printed.
    pub(crate) fn tool(&self, tool: &str, id: &str, arguments: &[&str]) -> Result<String, Failure> {
        let lxcpath = self.lxcpath();
        let path = lxcpath.to_string_lossy();
        run(tool, &[&["-P", &path, "-n", id], arguments].concat(), None)
    }
}

/// Runs a program; what it printed, or how it failed.
#[expect(clippy::disallowed_methods, reason = "this program stands alone, without the library")]
pub(crate) fn run(program: &str, arguments: &[&str], input: Option<&Path>) -> Result<String, Failure> {
    let mut command = std::process::Command::new(program);
    command.args(arguments).envs(crate::worker::variable_of_children()).stdin(std::process::Stdio::null());
    if let Some(input) = input {
        command.stdin(fs_err::File::open(input)?.into_parts().0);
    }
    let output = command.output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!("command '{program} {}' failed: {}\n{}", arguments.join(" "), output.status, said.trim())))
}
