//! Containers that nobody has configured: found by their own settings, brought in sync, and nothing of them changed but
//! the driver.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::shown::assert_shown;
use crate::test_driver::TestDriver;
use crate::tree;
use crate::world::{Privilege, World};

mod fashions;
mod proxmox;

const VERSION: &str = "580.76.05";
const NEWER: &str = "580.95.05";

/// As guides for plain LXC have it: one line a node, and a rule for each major.
const BY_GUIDE: [&str; 7] = [
    "lxc.cgroup2.devices.allow = c 195:* rwm",
    "lxc.cgroup2.devices.allow = c 511:* rwm",
    "lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,optional,create=file",
    "lxc.mount.entry = /dev/nvidiactl dev/nvidiactl none bind,optional,create=file",
    "lxc.mount.entry = /dev/nvidia-uvm dev/nvidia-uvm none bind,optional,create=file",
    "lxc.mount.entry = /dev/nvidia-uvm-tools dev/nvidia-uvm-tools none bind,optional,create=file",
    "lxc.mount.entry = /srv srv none bind,optional,create=dir",
];

/// The least that CUDA needs, without rules, in an unprivileged container.
const LEAST: [&str; 3] = [
    "lxc.mount.entry = /dev/nvidia0 dev/nvidia0 none bind,create=file 0 0",
    "lxc.mount.entry = /dev/nvidiactl dev/nvidiactl none bind,create=file 0 0",
    "lxc.mount.entry = /dev/nvidia-uvm dev/nvidia-uvm none bind,create=file 0 0",
];

/// A host where somebody has made three containers by hand: `jellyfin` runs, 905 and `2fauth` do not, and the last has no
/// GPU. There is no configuration, and the run files of both versions are cached.
struct ByHand {
    world: World,
    host: PretendedGpuHost,
}

impl ByHand {
    fn new() -> Self {
        let by_hand = Self { world: World::new(), host: PretendedGpuHost::with_one_gpu(VERSION) };
        let world = &by_hand.world;
        for version in [VERSION, NEWER] {
            TestDriver::new(version).write_into(&world.cache());
        }
        world.write_hypervisor(&json!({ "nvidia_driver": { "offline": true } }));
        world.create_by_hand("jellyfin", Privilege::Unprivileged, &LEAST);
        world.create_by_hand(905, Privilege::Privileged, &BY_GUIDE);
        world.create_by_hand("2fauth", Privilege::Unprivileged, &[]);
        world.pretend_kernel_module("jellyfin", VERSION);
        world.lxc_on(&by_hand.host, "lxc-start", "jellyfin", &["--daemon"]).ok();
        by_hand
    }

    fn run(&self, words: &[&str]) -> Ran {
        self.world.run_on(&self.host, words)
    }

    /// Compares with a snapshot what a command prints on standard output; the lines of progress come as workers have them.
    fn shows(&self, name: &str, words: &[&str]) {
        let ran = Ran { stderr: String::new(), ..self.run(words).ok() };
        assert_shown(name, &self.world, words, &ran);
    }

    /// The host has been upgraded and has booted; what ran before runs again.
    fn upgrade(&mut self, version: &str) {
        self.world.lxc("lxc-stop", "jellyfin", &["--kill"]).ok();
        self.host = PretendedGpuHost::with_one_gpu(version);
        self.world.pretend_kernel_module("jellyfin", version);
        self.world.lxc_on(&self.host, "lxc-start", "jellyfin", &["--daemon"]).ok();
    }

    /// What `status` says of each container: version, profile and verdict.
    fn status(&self) -> BTreeMap<String, [String; 3]> {
        rows(&self.run(&["status", "--output", "json"]).ok().stdout)
    }

    /// Every file that is the operator's, with its bytes.
    fn settings(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = fs_err::read_dir(self.world.lxcpath()).unwrap().map(|entry| entry.unwrap().path());
        let files = entries.flat_map(|directory| fs_err::read_dir(directory).unwrap());
        let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        files.map(|path| (path.clone(), fs_err::read(path).unwrap())).collect()
    }
}

fn rows(json: &str) -> BTreeMap<String, [String; 3]> {
    let rows: Vec<Value> = serde_json::from_str(json).unwrap();
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let row = |row: &Value| (text(&row["id"]), ["installed", "profile", "verdict"].map(|key| text(&row[key])));
    rows.iter().map(row).collect()
}

fn of<const N: usize>(rows: [(&str, [&str; 3]); N]) -> BTreeMap<String, [String; 3]> {
    rows.into_iter().map(|(id, row)| (id.to_owned(), row.map(str::to_owned))).collect()
}

const IN_SYNC: &str = "in sync (not verified live)";

#[test]
fn without_any_file_containers_are_found_and_follow_the_host() {
    let mut by_hand = ByHand::new();
    let (settings, base) = (by_hand.settings(), by_hand.world.base().join("etc"));
    let absent = ["null", "null", "not installed"];
    assert_eq!(by_hand.status(), of([("905", absent), ("jellyfin", absent)]));
    by_hand.shows("found_status_before", &["status"]);
    let planned = by_hand.run(&["plan", "--all"]).ok().stdout;
    assert!(planned.contains("install driver 580.76.05 by method `native`, profile `compute`"), "{planned}");

    by_hand.shows("found_apply", &["apply", "--all"]);
    by_hand.shows("found_status", &["status"]);
    let has = |version| [version, "compute", IN_SYNC];
    assert_eq!(by_hand.status(), of([("905", has(VERSION)), ("jellyfin", has(VERSION))]));
    by_hand.run(&["plan", "--all", "--exit-code"]).exits(0);
    let verified = by_hand.run(&["verify", "--all"]).ok().stdout;
    assert!(verified.contains("jellyfin") && verified.contains("verified") && !verified.contains("905"), "{verified}");

    by_hand.world.run(&["cache", "prune"]).ok();
    let left = |version| by_hand.world.cache().join(TestDriver::new(version).file_name()).exists();
    assert!(left(VERSION) && !left(NEWER), "what containers have is kept, whoever is not loaded now");
    TestDriver::new(NEWER).write_into(&by_hand.world.cache());

    by_hand.upgrade(NEWER);
    assert_eq!(by_hand.status()["905"][2], "out of sync");
    by_hand.run(&["apply", "--gpu", "--target", "host"]).ok();
    assert_eq!(by_hand.status(), of([("905", has(NEWER)), ("jellyfin", has(NEWER))]));
    assert_eq!(by_hand.settings(), settings, "nothing of them was changed but the driver");
    assert_eq!(fs_err::read_dir(base).unwrap().count(), 1, "nor was a file made for them");

    let removed = by_hand.run(&["uninstall", "--all"]).ok().stdout;
    assert!(
        removed.contains("905 test: uninstall driver") && removed.contains("jellyfin test: uninstall"),
        "{removed}"
    );
    assert_eq!(by_hand.status(), of([("905", absent), ("jellyfin", absent)]));
    assert_eq!(by_hand.settings(), settings);
}

#[test]
fn what_is_installed_is_replaced_by_as_much() {
    let mut by_hand = ByHand::new();
    by_hand.run(&["install", "jellyfin", "--method", "runfile"]).ok();
    by_hand.run(&["install", "905", "--profile", "graphics"]).ok();
    let before = of([("905", [VERSION, "graphics", IN_SYNC]), ("jellyfin", [VERSION, "full", IN_SYNC])]);
    assert_eq!(by_hand.status(), before, "a method and a profile that somebody has chosen stay");
    // As if somebody had run NVIDIA's installer by hand.
    fs_err::remove_file(by_hand.world.base().join("lib/receipts/jellyfin.json")).unwrap();
    fs_err::remove_dir_all(by_hand.world.rootfs("jellyfin").join("var/lib/phoenix-nvidia")).unwrap();
    by_hand.upgrade(NEWER);
    by_hand.run(&["apply", "--all"]).ok();
    let after = of([("905", [NEWER, "graphics", IN_SYNC]), ("jellyfin", [NEWER, "full", IN_SYNC])]);
    assert_eq!(by_hand.status(), after);
}

#[test]
fn what_would_change_their_settings_is_refused() {
    let by_hand = ByHand::new();
    let settings = by_hand.settings();
    let said = by_hand.run(&["install", "905", "--method", "shared"]).exits(3).stderr;
    assert!(
        said.contains("its settings, and these stay as they are") || said.contains("use the method `native`"),
        "{said}"
    );
    let said = by_hand.run(&["create", "905"]).exits(3).stderr;
    assert!(said.contains("the containers' file is missing"), "{said}");
    let said = by_hand.run(&["destroy", "905", "--yes"]).exits(3).stderr;
    assert!(said.contains("the containers' file is missing"), "{said}");
    let said = by_hand.run(&["install", "906"]).exits(3).stderr;
    assert!(said.contains("container 906 does not exist on this host"), "{said}");
    assert_eq!(by_hand.settings(), settings);
}

#[test]
fn without_a_module_nothing_is_changed() {
    let by_hand = ByHand::new();
    let before = (by_hand.settings(), tree::of(&by_hand.world.rootfs(905)));
    let world = &by_hand.world;
    let said = world.run(&["apply", "--all"]).exits(7).stderr;
    assert!(
        said.contains("container 905: its GPUs are pending until the host's NVIDIA kernel module is loaded"),
        "{said}"
    );
    let said = world.run(&["install", "905"]).exits(10).stderr;
    assert!(said.contains("no NVIDIA kernel module loaded") && said.contains("modprobe nvidia"), "{said}");
    let rows = rows(&world.run(&["status", "--output", "json"]).ok().stdout);
    assert_eq!(rows["905"], ["null", "null", "not installed"].map(str::to_owned));
    assert_eq!((by_hand.settings(), tree::of(&by_hand.world.rootfs(905))), before);
}

#[test]
fn a_host_without_gpu_containers_says_where_it_looked() {
    let world = World::new();
    world.create_by_hand("web", Privilege::Unprivileged, &[]);
    let host = PretendedGpuHost::with_one_gpu(VERSION);
    for words in [&["status"][..], &["apply", "--all"], &["plan", "--gpu"], &["install", "--all"], &["verify", "--gpu"]]
    {
        let ran = world.run_on(&host, words).ok();
        let place = world.lxcpath().display().to_string();
        let looked = format!(
            "no container of this host has NVIDIA devices in its settings (containers of `lxc` below `{place}`: 1)"
        );
        assert!(ran.stderr.contains(&looked), "{words:?}: {}", ran.stderr);
    }
    for words in [["cache", "list"], ["cache", "prune"], ["store", "list"], ["store", "prune"]] {
        world.run_on(&host, &words).ok();
    }
}

#[test]
fn beside_a_file_they_are_shown_and_touched_only_by_name() {
    let by_hand = ByHand::new();
    by_hand.world.write_containers(&json!({ "nvidia_driver_version": VERSION, "lxc_configs": {
        "905": { "name": "test", "features": ["nvidia"], "gpu_assignment": "0" } } }));
    assert_eq!(by_hand.status()["jellyfin"], ["null", "null", "not configured"].map(str::to_owned));
    by_hand.run(&["plan", "--all"]).ok();
    let planned = by_hand.run(&["plan", "--all"]).ok().stdout;
    assert!(planned.contains("905") && !planned.contains("jellyfin"), "{planned}");
    let settings = by_hand.settings();
    by_hand.run(&["install", "jellyfin"]).ok();
    assert_eq!(by_hand.settings(), settings);
    assert_eq!(by_hand.status()["jellyfin"], [VERSION, "compute", "not configured"].map(str::to_owned));
    let alone = rows(&by_hand.run(&["status", "jellyfin", "--output", "json"]).ok().stdout);
    assert_eq!(alone["jellyfin"][2], IN_SYNC);
    by_hand.run(&["verify", "jellyfin"]).ok();
    by_hand.run(&["uninstall", "jellyfin"]).ok();
    assert_eq!(by_hand.settings(), settings);
}

#[test]
fn adopted_containers_are_described_as_they_are() {
    let by_hand = ByHand::new();
    by_hand.run(&["install", "jellyfin", "--profile", "graphics"]).ok();
    let settings = by_hand.settings();
    let printed = by_hand.run(&["adopt"]).ok().stdout;
    let entries: Value = serde_json::from_str(&printed).unwrap();
    let entry = |method: &str, profile: &str, unprivileged: bool| {
        json!({ "name": "test", "manage_settings": false, "unprivileged": unprivileged, "start_at_boot": false,
            "features": ["nvidia"], "gpu_assignment": "0", "nvidia_install_method": method,
            "nvidia_driver_profile": profile })
    };
    let both = json!({ "905": entry("native", "compute", false), "jellyfin": entry("native", "graphics", true) });
    assert_eq!(entries, json!({ "nvidia_driver_version": "host", "lxc_configs": both }));
    assert_eq!(by_hand.run(&["adopt", "--write", "--all"]).ok().stdout, "");
    let file = by_hand.world.base().join("etc/phoenix_lxc_configs.json");
    assert_eq!(fs_err::read_to_string(&file).unwrap(), printed);
    let said = by_hand.run(&["adopt", "--write"]).exits(3).stderr;
    assert!(said.contains("`adopt` never changes one"), "{said}");
    let said = by_hand.run(&["adopt", "905"]).exits(2).stderr;
    assert!(said.contains("describes container 905 already"), "{said}");
    let beside = by_hand.run(&["adopt", "2fauth"]).ok().stdout;
    assert!(beside.contains("\"2fauth\"") && !beside.contains("905"), "{beside}");

    by_hand.run(&["lint"]).ok();
    let planned = by_hand.run(&["plan", "--all"]).ok().stdout;
    let expected = "905 test:\n  install driver 580.76.05 by method `native`, profile `compute`\n      none is installed; it takes 1 MB\n  \
                    verify driver 580.76.05\njellyfin test: nothing to do\n  verify driver 580.76.05\n";
    assert_eq!(planned, expected);
    let created = by_hand.run(&["create", "jellyfin"]).ok().stdout;
    assert!(created.starts_with("jellyfin test: nothing to do"), "{created}");
    by_hand.run(&["apply", "--all"]).ok();
    assert_eq!(by_hand.status()["905"], [VERSION, "compute", IN_SYNC].map(str::to_owned));
    assert_eq!(by_hand.settings(), settings);
}

#[test]
fn called_alone_on_a_terminal_it_says_what_is_there_and_what_to_type() {
    let by_hand = ByHand::new();
    by_hand.run(&["install", "jellyfin"]).ok();
    let program = env!("CARGO_BIN_EXE_phoenix-nvidia");
    let alone =
        || by_hand.host.run("script", &["-qec", program, "/dev/null"], &by_hand.world.environment()).ok().stdout;
    let expected = [
        "hypervisor:     lxc, containers: 3",
        "kernel module:  NVIDIA 580.76.05",
        "GPUs:           1",
        "with GPUs:      2 containers, in sync: 1",
        "next:           phoenix-nvidia plan --all   (what `apply --all` would do)",
    ];
    assert_eq!(alone().lines().collect::<Vec<_>>(), expected);
    by_hand.run(&["apply", "--all"]).ok();
    assert!(alone().contains("in sync: 2") && alone().contains("phoenix-nvidia verify --all"), "{}", alone());
    // Where nobody sits, nothing is looked at.
    by_hand.run(&[]).exits(2);
}

#[test]
fn an_entry_that_says_nothing_of_gpus_takes_none_away() {
    let by_hand = ByHand::new();
    let entry = |gpus: &Value| {
        let mut entry = json!({ "name": "test", "features": ["nvidia"] });
        if !gpus.is_null() {
            entry["gpu_assignment"] = gpus.clone();
        }
        by_hand.world.write_containers(&json!({ "nvidia_driver_version": VERSION, "lxc_configs": { "905": entry } }));
    };
    entry(&Value::Null);
    let settings = by_hand.settings();
    let said = by_hand.run(&["apply", "905"]).exits(3).stderr;
    assert!(said.contains("its settings pass `/dev/nvidia0`") && said.contains("`gpu_assignment` to \"0\""), "{said}");
    assert_eq!(by_hand.settings(), settings);
    entry(&json!("none"));
    by_hand.run(&["apply", "905"]).ok();
    assert!(
        !String::from_utf8_lossy(&by_hand.settings()[&by_hand.world.lxcpath().join("905/config")]).contains("nvidia0")
    );
}

/// A package as distributions have it, installed in a running container: `libcuda1` with a library of an old driver.
fn install_package(by_hand: &ByHand, container: &str) {
    let work = by_hand.world.scratch("package");
    let library = work.join("usr/lib/x86_64-linux-gnu/libcuda.so.535.261.03");
    for (path, text) in [
        (library, "an old driver"),
        (
            work.join("DEBIAN/control"),
            "Package: libcuda1\nVersion: 535.261.03-1\nArchitecture: all\nMaintainer: A <a@b.c>\nDescription: CUDA\n",
        ),
    ] {
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, text).unwrap();
    }
    let package = by_hand.world.rootfs(container).join("root/libcuda1.deb");
    Ran::of(
        "dpkg-deb",
        &["--build".as_ref(), "--root-owner-group".as_ref(), work.as_os_str(), package.as_os_str()],
        &[],
    )
    .ok();
    by_hand.world.inside(container, "dpkg --install /root/libcuda1.deb").ok();
}

#[test]
fn packages_that_have_installed_a_driver_are_named_and_purged_on_demand() {
    let by_hand = ByHand::new();
    install_package(&by_hand, "jellyfin");
    let refusal = "container jellyfin: packages in it have installed a driver: libcuda1";
    let said = by_hand.run(&["install", "jellyfin"]).exits(3).stderr;
    assert!(said.contains(refusal) && said.contains("--replace-packages"), "{said}");
    let planned = by_hand.run(&["plan", "jellyfin"]);
    assert!(planned.stdout.contains(refusal), "{}", planned.stdout);
    let is_there =
        || by_hand.world.inside("jellyfin", "dpkg-query --show --showformat='${Status}' libcuda1 || :").ok().stdout;
    assert_eq!(is_there(), "install ok installed");
    // Nothing is purged for a driver that cannot come.
    let unknown = PretendedGpuHost::with_one_gpu("590.48.01");
    by_hand.world.run_on(&unknown, &["install", "jellyfin", "--replace-packages"]).exits(8);
    assert_eq!(is_there(), "install ok installed");

    let planned = by_hand.run(&["plan", "jellyfin", "--replace-packages"]).ok().stdout;
    assert!(planned.contains("purges the packages libcuda1"), "{planned}");
    by_hand.run(&["apply", "jellyfin", "--replace-packages"]).ok();
    assert_eq!(is_there(), "");
    assert_eq!(by_hand.status()["jellyfin"][2], IN_SYNC);
    // From then on it is ours.
    by_hand.run(&["install", "jellyfin"]).ok();
}

#[test]
fn containers_of_another_hypervisor_are_left_to_it() {
    let by_hand = ByHand::new();
    let of_incus = "lxc.hook.pre-start = /proc/612/exe callhook /var/lib/incus \"default\" \"c1\" start";
    by_hand.world.create_by_hand("theirs", Privilege::Privileged, &[&LEAST[..], &[of_incus]].concat());
    // Programs that this test adds, over those of the host.
    let added = by_hand.world.scratch("over");
    fs_err::create_dir_all(&added).unwrap();
    let over = format!(
        "cd {} && mount -t tmpfs over . && cd {0} && mkdir up work && mount -t overlay over -o \
         lowerdir=/usr/bin,upperdir=$PWD/up,workdir=$PWD/work /usr/bin && touch /usr/bin/incus",
        added.display()
    );
    by_hand.host.sh(&over).ok();
    let shown = by_hand.run(&["status", "--output", "json"]).ok();
    assert!(!rows(&shown.stdout).contains_key("theirs"), "{}", shown.stdout);
    assert!(shown.stderr.contains("this host also has Incus"), "{}", shown.stderr);
    let said = by_hand.run(&["install", "theirs"]).exits(3).stderr;
    assert!(said.contains("container theirs belongs to Incus"), "{said}");
}

#[test]
fn the_hook_compares_a_container_that_nobody_has_configured() {
    let by_hand = ByHand::new();
    by_hand.run(&["install", "905"]).ok();
    let newer = PretendedGpuHost::with_one_gpu(NEWER);
    let said = by_hand.world.run_on(&newer, &["hook", "905", "lxc", "pre-start"]).ok().stderr;
    assert!(said.contains("driver 580.76.05 is installed, but the host's kernel module is 580.95.05"), "{said}");
    assert!(said.contains("phoenix-nvidia install 905"), "{said}");
    assert_eq!(by_hand.world.run_on(&newer, &["hook", "2fauth", "lxc", "pre-start"]).ok().stderr, "");
}
