//! The contract of the stand-in `pct`: what the real one has said and answered, command by command, in the order in which
//! it was recorded. Where the two differ, the recording is right.
//!
//! Left out of both sides: what only a machine with these disks prints, hardware addresses and the names of volumes.
//! There is no bridge on this machine, so no container has a network.

use std::collections::BTreeSet;

use serde_json::json;

use crate::gpu_host::PretendedGpuHost;
use crate::proxmox_node::{ProxmoxNode, TEMPLATE};
use crate::ran::Ran;
use crate::world::World;

const RECORDED: &str = include_str!("../../fixtures/pct/transcripts.txt");

/// What the stand-in does not play, by the beginning of the recording's number and name, and why.
const NOT_PLAYED: [(&[&str], &str); 8] = [
    (
        &[
            "001", "002", "016", "017", "018", "019", "029", "030", "091", "092", "126", "127", "128", "130", "141",
            "143", "144", "161", "168", "171", "178", "181", "188", "211", "218", "220", "246", "260", "262", "296",
            "312", "320",
        ],
        "`status`, `list`, `config` and `pending`: the program reads the files itself",
    ),
    (&["023", "096", "097", "176", "205"], "`stop`: the program always lets a container end in order"),
    (&["202"], "a shutdown that may never end"),
    (&["180", "182", "183", "184"], "templates and linked clones: no key of the configuration asks for them"),
    (&["072", "310", "311", "315"], "warnings about the systemd of a template, and liblxc's own words"),
    (
        &["110", "144", "145", "146", "147", "149", "165", "169", "295"],
        "the recording machine's own: AppArmor, lines edited by hand, btrfs",
    ),
    (&["234", "244", "325", "330"], "a file system that does not grow, a digest, an orphan of an earlier kill"),
    (&["340"], "a hookscript that waits for its own `pct`: `refusals` has that"),
];

/// What was recorded beside, and is not in the fixture: the program never calls it, or it is no single call.
const NOT_IN_THE_FIXTURE: [(&[&str], &str); 8] = [
    (
        &[
            "020", "031", "032", "033", "034", "035", "036", "037", "038", "039", "040", "041", "043", "044", "050",
            "061", "074", "093", "118", "121", "124", "148", "150", "187", "213", "235", "237", "261", "291", "300",
            "301", "302", "316", "323", "324", "341",
        ],
        "`exec`: the program runs `lxc-attach` itself, which real containers answer for",
    ),
    (
        &[
            "021", "022", "060", "062", "063", "064", "065", "066", "067", "068", "069", "070", "071", "073", "075",
            "076", "077", "078", "079", "079b", "080", "094", "230", "231", "232", "236",
        ],
        "`push` and `pull`: the program writes through the in-root door",
    ),
    (&["025", "208", "209"], "`reboot`, from outside and inside: the program shuts down and starts"),
    (&["164", "233", "264"], "`listsnapshot`, `df` and `.vmlist`: the program reads the files itself"),
    (&["238", "239", "240", "321"], "words for people who call `pct` otherwise"),
    (
        &["270", "271", "272", "273", "274", "275", "276", "277", "278", "279", "280", "281"],
        "`pvesh`: the program does not use the API",
    ),
    (&["293", "297", "298", "313"], "several commands in one shell"),
    (&["322"], "a killed `create`: `interrupted` has that, at every moment"),
];
/// How many there are of all, the indices apart.
const RECORDED_IN_ALL: usize = 223;

/// One command as it was recorded.
struct Recording {
    name: &'static str,
    words: Vec<String>,
    stdout: &'static str,
    stderr: &'static str,
    code: i32,
}

fn recordings() -> impl Iterator<Item = Recording> {
    RECORDED.split("=== ").skip(1).map(|section| {
        let (name, rest) = section.split_once('\n').unwrap();
        let (command, rest) = rest.split_once("\n--- stdout\n").unwrap();
        let (stdout, rest) = rest.split_once("--- stderr\n").unwrap();
        let (stderr, code) = rest.split_once("--- exit ").unwrap();
        let words = words(command.trim_start_matches("$ "));
        Recording { name, words, stdout, stderr, code: code.trim().parse().unwrap() }
    })
}

/// The words of a command as a shell quotes them, without the network.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut characters = command.chars();
    while let Some(character) = characters.next() {
        match character {
            ' ' => words.push(String::new()),
            '\\' => words.last_mut().unwrap().extend(characters.next()),
            other => words.last_mut().unwrap().push(other),
        }
    }
    if let Some(network) = words.iter().position(|word| word == "--net0") {
        words.drain(network..network + 2);
    }
    words
}

fn is_played(name: &str) -> bool {
    !NOT_PLAYED.iter().flat_map(|(names, _)| names.iter()).any(|not| name.starts_with(not))
}

/// A node as the recording machine was.
struct Stage {
    world: World,
    node: ProxmoxNode,
    host: PretendedGpuHost,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let node = ProxmoxNode::new(&world);
        let storage = fs_err::read_to_string(node.pve("storage.cfg")).unwrap();
        node.write("storage.cfg", &format!("{storage}\nbtrfs: bt\n\tpath /srv/lab/bt\n\tcontent rootdir\n"));
        fs_err::create_dir_all(world.scratch("volumes/bt")).unwrap();
        node.set_name("vm");
        node.set_guests(&json!({ "950": { "node": "pve2", "type": "lxc" } }));
        let cache = world.scratch("volumes/local/template/cache");
        for name in ["debian-12-standard_12.11-1_amd64", "debian-12-lab_12.11_amd64"] {
            let template = cache.join(format!("{name}.tar.zst"));
            fs_err::os::unix::fs::symlink(cache.join("debian-12.tar.zst"), template).unwrap();
        }
        let host = PretendedGpuHost::with_one_gpu("580.76.05");
        host.sh("mkdir -p /dev/labnv/nvidia-caps /srv/lab/hostshare; cd /dev/labnv; mknod rng c 10 183
                 for node in nvidia0 nvidiactl nvidia-uvm nvidia-uvm-tools nvidia-caps/nvidia-cap1; do
                     mknod $node c 195 77; done")
            .ok();
        Self { world, node, host }
    }

    fn play(&self, words: &[String]) -> Ran {
        let path = self.node.pct();
        match words[0].as_str() {
            "pct" => self.host.run(path.to_str().unwrap(), &words[1..], &[("LC_ALL", "C.UTF-8".into())]),
            // `cat /etc/pve/lxc/ID.conf`
            _ => {
                let file = words[1].trim_start_matches("/etc/pve/");
                Ran::of("cat", &[self.node.pve(file)], &[])
            }
        }
    }

    /// Stops a container that runs.
    fn stop(&self, ctid: u32) {
        let stopped = self.play(&words(&format!("pct shutdown {ctid} --forceStop 1")));
        assert!(stopped.code == 0 || stopped.stderr.ends_with(" not running\n"), "{}", stopped.stderr);
    }

    /// What was done on the recording machine before this command, by other means than `pct` or by a verb that is not
    /// played.
    fn before(&self, name: &str) {
        let hook = |failing: &str| {
            let script = "echo hook stdout $2; echo hook stderr $2 >&2";
            self.node.write_hookscript(&format!("{script}; [ $2 != {failing} ] || exit 7"));
        };
        match &name[..3] {
            "098" => self.stop_in_spite_of_its_lock(901),
            "115" | "140" | "203" | "204" | "215" => self.stop(901),
            "116" => self.stop(902),
            "117" | "241" => drop(self.play(&words("pct start 902"))),
            "177" => self.stop(910),
            "185" => self.stop(901),
            "294" => {
                self.stop(914);
                self.play(&words("pct set 914 --delete mp0")).ok();
            }
            "299" => drop(self.play(&words("pct start 914")).ok()),
            "314" => {
                self.play(&words(&format!("pct create 903 {TEMPLATE} --rootfs local:1"))).ok();
                self.node.edit(903, |text| format!("{text}net0: name=eth0,bridge=vmbrNONE\n"));
            }
            _ => {}
        }
        match &name[..3] {
            "140" => drop(self.host.sh("mv /dev/labnv/nvidia-uvm /dev/labnv/away").ok()),
            "185" => drop(self.host.sh("mv /dev/labnv/away /dev/labnv/nvidia-uvm").ok()),
            "200" => hook("none"),
            "203" => hook("pre-start"),
            "204" => hook("post-start"),
            "206" => {
                hook("none");
                let path = self.world.scratch("volumes/local/snippets/hook.sh");
                fs_err::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            }
            "210" | "330" => hook("none"),
            _ => {}
        }
    }

    fn stop_in_spite_of_its_lock(&self, ctid: u32) {
        self.node.edit(ctid, |text| text.replace("lock: backup\n", ""));
        self.stop(ctid);
        self.node.edit(ctid, |text| format!("lock: backup\n{text}"));
    }

    /// What both sides must say alike.
    fn comparable(&self, text: &str) -> String {
        let world = self.world.scratch("").display().to_string();
        let world = world.trim_end_matches('/');
        let places = [(format!("{world}/volumes/local"), "/var/lib/vz"), (format!("{world}/lxc"), "/var/lib/lxc")];
        let text = places.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to));
        let machine = ["Formatting ", "Creating filesystem ", "Filesystem UUID", "Superblock backups", "\t", "net0: "];
        let lines = text.lines().filter(|line| !line.trim().is_empty());
        let lines = lines.filter(|line| !machine.iter().any(|start| line.starts_with(start)));
        lines.map(|line| without_volume(line) + "\n").collect()
    }
}

/// A line without the name of a volume.
fn without_volume(line: &str) -> String {
    let volume = |word: &str| ["local:", "bt:"].iter().any(|pool| word.contains(pool)) && word.contains("-disk-");
    let words = line.split(' ').map(|word| if volume(word) { "VOLUME" } else { word.trim_end() });
    words.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

#[test]
fn the_stand_in_says_and_answers_what_the_real_pct_did() {
    let stage = Stage::new();
    let mut differences = Vec::new();
    for recording in recordings().filter(|recording| is_played(recording.name)) {
        stage.before(recording.name);
        let ran = stage.play(&recording.words);
        let said = |stdout: &str, stderr: &str, code| {
            format!("{}--- stderr\n{}--- exit {code}\n", stage.comparable(stdout), stage.comparable(stderr))
        };
        let real = said(recording.stdout, recording.stderr, recording.code);
        let played = said(&ran.stdout, &ran.stderr, ran.code);
        if real != played {
            differences.push(format!(
                "{}: `{}`\nreal:\n{real}played:\n{played}",
                recording.name,
                recording.words.join(" ")
            ));
        }
    }
    assert!(differences.is_empty(), "{} differ\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn what_is_not_played_is_recorded() {
    let names: BTreeSet<&str> = recordings().map(|recording| recording.name).collect();
    for not in NOT_PLAYED.iter().flat_map(|(names, _)| names.iter()) {
        assert!(names.iter().any(|name| name.starts_with(not)), "there is no recording {not}");
    }
    assert!(names.iter().filter(|name| is_played(name)).count() > 60);
}

#[test]
fn what_is_not_in_the_fixture_is_listed_with_a_reason() {
    let number = |name: &'static str| name.split('-').next().unwrap_or(name);
    let mut numbers: Vec<&str> = recordings().map(|recording| number(recording.name)).collect();
    numbers.extend(NOT_IN_THE_FIXTURE.iter().flat_map(|(names, _)| names.iter()));
    assert_eq!(numbers.len(), RECORDED_IN_ALL);
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), RECORDED_IN_ALL, "one is there twice: {numbers:?}");
}
