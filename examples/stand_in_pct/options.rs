//! The command line of `pct`: its options, their types and its complaints (pve-container 6.1.10).

use std::collections::BTreeMap;

use crate::Failure;

/// What an option takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Boolean,
    Integer(u64, u64),
    Text,
    /// A property string with these keys; the first is the one that may lack its name.
    Properties(&'static [&'static str]),
}

const DEVICE: &[&str] = &["path", "deny-write", "gid", "mode", "uid"];
const FEATURES: &[&str] = &["force_rw_sys", "fuse", "keyctl", "mknod", "mount", "nesting"];
const MOUNT: &[&str] = &[
    "volume",
    "acl",
    "backup",
    "idmap",
    "keepattrs",
    "mountoptions",
    "mp",
    "quota",
    "replicate",
    "ro",
    "shared",
    "size",
];
const ROOTFS: &[&str] = &["volume", "acl", "idmap", "mountoptions", "quota", "replicate", "ro", "shared", "size"];
const NETWORK: &[&str] = &[
    "name",
    "bridge",
    "firewall",
    "gw",
    "gw6",
    "host-managed",
    "hwaddr",
    "ip",
    "ip6",
    "link_down",
    "mtu",
    "rate",
    "tag",
    "trunks",
    "type",
];

/// The options that a container's configuration has too.
fn configuration(option: &str) -> Option<Kind> {
    if let Some(kind) = numbered(option) {
        return Some(kind);
    }
    Some(match option {
        "hostname" | "nameserver" | "searchdomain" | "description" | "startup" | "hookscript" | "tags" => Kind::Text,
        "memory" => Kind::Integer(16, u64::MAX),
        "swap" => Kind::Integer(0, u64::MAX),
        "cores" => Kind::Integer(1, 8192),
        "onboot" | "unprivileged" | "protection" | "console" => Kind::Boolean,
        "features" => Kind::Properties(FEATURES),
        "rootfs" => Kind::Properties(ROOTFS),
        _ => return None,
    })
}

/// `net0` to `net31`, `mp0` and `dev0` to 255.
fn numbered(option: &str) -> Option<Kind> {
    let word = option.trim_end_matches(|character: char| character.is_ascii_digit());
    let index: u32 = option[word.len()..].parse().ok()?;
    match word {
        "net" if index < 32 => Some(Kind::Properties(NETWORK)),
        "mp" if index < 256 => Some(Kind::Properties(MOUNT)),
        "dev" if index < 256 => Some(Kind::Properties(DEVICE)),
        _ => None,
    }
}

fn option_kind(verb: &str, option: &str) -> Option<Kind> {
    match (verb, option) {
        ("create", "storage" | "password" | "pool" | "ostype" | "arch") => Some(Kind::Text),
        ("create", "start" | "unique" | "ignore-unpack-errors" | "force") => Some(Kind::Boolean),
        ("set", "delete" | "digest" | "revert") => Some(Kind::Text),
        ("set", "lock") => Some(Kind::Text),
        ("create" | "set", option) => configuration(option),
        ("clone", "hostname" | "snapname" | "storage" | "description" | "pool" | "target") => Some(Kind::Text),
        ("clone", "full") | ("start", "debug" | "skiplock") | ("shutdown", "forceStop") => Some(Kind::Boolean),
        ("shutdown", "timeout") => Some(Kind::Integer(0, u64::MAX)),
        ("destroy", "destroy-unreferenced-disks" | "force" | "purge") => Some(Kind::Boolean),
        ("snapshot", "description") => Some(Kind::Text),
        ("delsnapshot", "force") | ("rollback", "start") => Some(Kind::Boolean),
        _ => None,
    }
}

/// The words after the verb's name that every verb wants.
fn positional(verb: &str) -> Option<(usize, &'static str)> {
    Some(match verb {
        "create" => (2, "<vmid> <ostemplate>"),
        "clone" => (2, "<vmid> <newid>"),
        "resize" => (3, "<vmid> <disk> <size>"),
        "snapshot" | "delsnapshot" | "rollback" => (2, "<vmid> <snapname>"),
        "set" | "start" | "shutdown" | "destroy" | "mount" | "unmount" | "unlock" => (1, "<vmid>"),
        _ => return None,
    })
}

/// A command line that `pct` would take.
pub(crate) struct Arguments {
    pub(crate) verb: String,
    /// The CTID, and what else stands before the options.
    pub(crate) words: Vec<String>,
    options: BTreeMap<String, String>,
}

impl Arguments {
    pub(crate) fn parse(words: &[String]) -> Result<Self, Failure> {
        let verb = words.first().cloned().unwrap_or_default();
        let (wanted, form) =
            positional(&verb).ok_or_else(|| Failure::new(format!("ERROR: unknown command 'pct {verb}'")))?;
        let usage = format!("pct {verb} {form} [OPTIONS]");
        let (mut positional, mut options) = (Vec::new(), BTreeMap::new());
        let mut rest = words[1..].iter().peekable();
        while let Some(word) = rest.next() {
            let Some(option) = word.strip_prefix("--") else {
                positional.push(word.clone());
                continue;
            };
            let (option, value) = option.split_once('=').map_or((option, None), |(key, value)| (key, Some(value)));
            let unknown = || Failure::new(format!("Unknown option: {option}\n400 unable to parse option\n{usage}"));
            let kind = option_kind(&verb, option).ok_or_else(unknown)?;
            let next = value.map(str::to_owned).or_else(|| {
                let next = rest.next_if(|next| !(kind == Kind::Boolean && next.starts_with("--")));
                next.cloned()
            });
            let value = next.or_else(|| (kind == Kind::Boolean).then(|| "1".to_owned())).ok_or_else(unknown)?;
            check(option, kind, &value).map_err(|what| {
                Failure::new(format!("400 Parameter verification failed.\n{option}: {what}\n\n{usage}"))
            })?;
            options.insert(option.to_owned(), value);
        }
        if positional.len() != wanted {
            return Err(Failure::new(format!("400 not enough or too many arguments\n{usage}")));
        }
        if !positional[0].parse::<u32>().is_ok_and(|id| (100..=999_999_999).contains(&id)) {
            return Err(Failure::new(format!(
                "400 Parameter verification failed.\nvmid: invalid format - value does not look like a valid VM ID\n\n{usage}"
            )));
        }
        Ok(Self { verb, words: positional, options })
    }

    pub(crate) fn id(&self) -> &str {
        &self.words[0]
    }

    pub(crate) fn option(&self, name: &str) -> Option<&str> {
        self.options.get(name).map(String::as_str)
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.option(name).is_some_and(|value| value == "1")
    }

    /// The options that become keys of the container's file.
    pub(crate) fn keys(&self) -> impl Iterator<Item = (&str, &str)> {
        let keys = self.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        keys.filter(|(key, _)| configuration(key).is_some())
    }

    pub(crate) fn has_options(&self) -> bool {
        !self.options.is_empty()
    }
}

fn check(option: &str, kind: Kind, value: &str) -> Result<(), String> {
    match kind {
        Kind::Boolean if !["0", "1", "on", "off", "yes", "no", "true", "false"].contains(&value) => {
            Err(format!("type check ('boolean') failed - got '{value}'"))
        }
        Kind::Integer(least, most) => match value.parse::<u64>() {
            Ok(number) if (least..=most).contains(&number) => Ok(()),
            Ok(_) => Err(format!("value must have a minimum value of {least}")),
            Err(_) => Err(format!("type check ('integer') failed - got '{value}'")),
        },
        Kind::Text if option == "hostname" && !is_dns_name(value) => {
            Err("invalid format - value does not look like a valid DNS name".to_owned())
        }
        Kind::Properties(keys) => check_properties(option, keys, value),
        Kind::Text if option == "password" && value.len() < 5 => {
            Err("value must be at least 5 characters long".to_owned())
        }
        _ => Ok(()),
    }
}

fn is_dns_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte)) && !name.is_empty()
}

fn check_properties(option: &str, keys: &[&str], value: &str) -> Result<(), String> {
    let mut seen = Vec::new();
    for part in value.split(',') {
        let (key, value) = part.split_once('=').unwrap_or((keys[0], part));
        if !keys.contains(&key) || seen.contains(&key) {
            return Err(format!(
                "invalid format - format error\n{option}.{key}: property is not defined in schema and the schema does not allow additional properties"
            ));
        }
        let is_wrong_mode =
            key == "mode" && !(value.len() == 4 && value.starts_with('0') && u32::from_str_radix(value, 8).is_ok());
        if is_wrong_mode {
            return Err(format!(
                "invalid format - format error\n{option}.mode: value does not match the regex pattern"
            ));
        }
        if key == "path" && !value.starts_with("/dev/") {
            return Err(format!(
                "invalid format - format error\n{option}.path: invalid format - {value} is not a valid device path\n"
            ));
        }
        seen.push(key);
    }
    Ok(())
}
