//! JSON schemas of both files, for editors that complete and check while one types.
//!
//! The types here are only what the schemas are made of; reading is done elsewhere and reports more than a schema can.
//! The schemas are lenient: keys that they do not know belong to other tools.

#![expect(dead_code, reason = "the fields are read by the derived code of the schemas alone")]

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::hypervisor::Backend;
use super::method::Method;
use super::mismatch::OnMismatch;
use crate::driver::placement::Profile;

/// The schema of `phoenix_lxc_configs.json`, as text with a line break at its end.
pub fn of_containers() -> String {
    text::<ContainersFile>()
}

/// The schema of `phoenix_hypervisor_config.json`, as text with a line break at its end.
pub fn of_hypervisor() -> String {
    text::<HypervisorFile>()
}

fn text<T: JsonSchema>() -> String {
    // The alternate form is indented; a JSON value can always be written.
    format!("{:#}\n", schemars::schema_for!(T).as_value())
}

/// The containers of a hypervisor. A key with a single value may stand at the root, for all, or in a container's entry,
/// which wins.
#[derive(JsonSchema)]
#[schemars(rename = "phoenix_lxc_configs.json")]
struct ContainersFile {
    /// The schema that editors check this file with.
    #[schemars(rename = "$schema")]
    schema: Option<String>,
    #[schemars(flatten)]
    scalars: Scalars,
    /// The containers, by CTID: a number from 100 to 999999999, in quotes.
    #[schemars(required, extend("propertyNames" = { "pattern": "^[1-9][0-9]{2,8}$" }))]
    lxc_configs: BTreeMap<String, Entry>,
}

/// One container.
#[derive(JsonSchema)]
struct Entry {
    #[schemars(flatten)]
    scalars: Scalars,
    /// The network interface.
    network_config: Option<NetworkEntry>,
    /// The features to install, in this order; `nvidia` means: install the driver. A string is read as `pct_options`.
    features: Option<ListOrText>,
    /// Options for `pct set --features`, such as `nesting=1`.
    pct_options: Option<ListOrText>,
    /// Raw lines for LXC, `lxc.some.key=value` or `lxc.some.key: value`.
    lxc_options: Option<Vec<String>>,
    /// Any entry means the map of 65536 users and groups from 100000.
    id_maps: Option<Vec<serde_json::Value>>,
    /// Directories of the host that the container sees.
    mount_points: Option<Vec<MountEntry>>,
    /// Volumes of storage pools.
    volumes: Option<Vec<VolumeEntry>>,
    /// Volumes of storage pools, after `volumes`.
    zfs_volumes: Option<Vec<VolumeEntry>>,
    /// CTIDs of the containers and virtual machines that come first.
    dependencies: Option<Vec<Ctid>>,
}

/// The keys with a single value.
#[derive(JsonSchema)]
struct Scalars {
    /// The host name.
    name: Option<String>,
    /// Memory in MiB.
    #[schemars(range(min = 16))]
    memory_mb: Option<u64>,
    /// Swap in MiB.
    swap_mb: Option<u64>,
    /// How many processors.
    #[schemars(range(min = 1, max = 8192))]
    cores: Option<u32>,
    /// The archive of the root file system that the container is created from.
    template: Option<String>,
    /// The CTID of the container that this one is cloned from; wins over `template`.
    clone_from_ctid: Option<Ctid>,
    /// The snapshot that clones of this container are made from.
    template_snapshot_name: Option<String>,
    /// The storage pool of the root file system.
    storage_pool: Option<String>,
    /// The size of the root file system in GiB.
    #[schemars(range(min = 1))]
    storage_size_gb: Option<u64>,
    /// The hardware address of the network interface, `52:54:00:AA:BB:CD`.
    #[schemars(regex(pattern = "^([0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}$"))]
    mac_address: Option<String>,
    /// Whether the container's root is nobody on the host.
    unprivileged: Option<bool>,
    /// The GPUs: `none`, `all`, or N of `/dev/nvidiaN`, a PCI address or a UUID, separated by commas.
    gpu_assignment: Option<Gpus>,
    /// Whether the container's settings, GPUs included, are brought in line with this file. With `false` they stay as they
    /// are, and only the driver is managed.
    manage_settings: Option<bool>,
    /// The permission bits of the container's GPU device nodes, octal: `0660`.
    gpu_mode: Option<Mode>,
    /// The owner of those nodes, as the container counts users.
    gpu_uid: Option<u32>,
    /// The group of those nodes, as the container counts groups.
    gpu_gid: Option<u32>,
    /// Whether the container gets the nodes below `/dev/dri` of its GPUs.
    nvidia_dri: Option<bool>,
    /// Whether Podman and Docker in the container find a CDI specification of its driver and GPUs.
    nvidia_cdi: Option<bool>,
    /// The AppArmor profile; `unconfined` means no line for a profile.
    apparmor_profile: Option<String>,
    /// The AppArmor profile allows nesting, so `nesting=1` is not set for it.
    apparmor_manages_nesting: Option<bool>,
    /// Whether the hypervisor starts the container when it starts itself.
    start_at_boot: Option<bool>,
    /// The place among the containers that start at boot, the lowest first.
    boot_order: Option<u32>,
    /// The seconds until the next container is started at boot.
    boot_delay: Option<u32>,
    /// Whether the snapshots `pre-configured` and `final-form` are taken.
    enable_lifecycle_snapshots: Option<bool>,
    /// The version of the driver, `580.76.05`, or `host`; needed by containers with the feature `nvidia`.
    #[schemars(regex(pattern = r"^(host|[0-9]{2,8}(\.[0-9]{1,8}){1,2})$"))]
    nvidia_driver_version: Option<String>,
    /// Where the run file is fetched from; `{version}` and `{arch}` are filled in.
    nvidia_runfile_url: Option<String>,
    /// The repository of CUDA's packages, for other tools; only compared with the template.
    nvidia_repo_url: Option<String>,
    /// How the driver gets into the container.
    nvidia_install_method: Option<Method>,
    /// The SHA-256 of the run file, 64 hexadecimal digits.
    #[schemars(regex(pattern = "^[0-9a-fA-F]{64}$"))]
    nvidia_runfile_sha256: Option<String>,
    /// Which part of the driver the container gets, where the method to install it leaves a choice.
    nvidia_driver_profile: Option<Profile>,
    /// What is done when a container is about to start with another driver than the host's.
    nvidia_on_mismatch: Option<OnMismatch>,
    /// Whether the method `runfile` is used where the chosen one cannot mount an image on this host or in the
    /// container.
    nvidia_allow_fallback: Option<bool>,
}

/// The network interface of a container.
#[derive(JsonSchema)]
struct NetworkEntry {
    /// The interface's name in the container.
    #[schemars(length(min = 1, max = 15))]
    name: String,
    /// The bridge of the host that it is connected to.
    #[schemars(length(min = 1, max = 15))]
    bridge: String,
    /// The address: `10.0.0.201/24`, `dhcp` or `manual`.
    ip: String,
    /// The router.
    gw: Option<String>,
    /// The name servers, separated by blanks or commas.
    nameservers: Option<ListOrText>,
}

/// A directory of the host that a container sees.
#[derive(JsonSchema)]
struct MountEntry {
    /// The directory on the host, absolute.
    host_path: String,
    /// Where the container sees it, absolute.
    container_path: String,
    /// The owner, as the container counts users.
    owner_uid: Option<u32>,
    /// The group, as the container counts groups.
    owner_gid: Option<u32>,
}

/// A volume of a storage pool.
#[derive(JsonSchema)]
struct VolumeEntry {
    /// Its name.
    name: String,
    /// The storage pool.
    pool: String,
    /// Its size in GiB.
    #[schemars(range(min = 1))]
    size_gb: u64,
    /// Where the container sees it, absolute.
    mount_point: String,
}

/// What of the hypervisor's settings is read here.
#[derive(JsonSchema)]
#[schemars(rename = "phoenix_hypervisor_config.json")]
struct HypervisorFile {
    /// The hypervisor itself.
    hypervisor: Option<HypervisorSection>,
    /// The driver on the host, and how run files are fetched.
    nvidia_driver: Option<DriverSection>,
    /// Where files lie.
    core_paths: Option<PathsSection>,
    /// Where the pools of the host are mounted.
    mount_point_base: Option<String>,
    /// What is done when something fails.
    behavior: Option<BehaviorSection>,
}

/// The hypervisor itself.
#[derive(JsonSchema)]
struct HypervisorSection {
    /// The tools that containers are driven with; found out where nothing is said.
    backend: Option<Backend>,
}

/// The driver on the host, and how run files are fetched.
#[derive(JsonSchema)]
struct DriverSection {
    /// The version that the host itself shall have; only compared.
    #[schemars(regex(pattern = r"^[0-9]{2,8}(\.[0-9]{1,8}){1,2}$"))]
    version: Option<String>,
    /// Where the run file is fetched from, if the containers' file does not say it.
    runfile_url: Option<String>,
    /// Base URLs that are asked before all others, in this order.
    mirrors: Option<Vec<String>>,
    /// Never use the network.
    offline: Option<bool>,
    /// Hosts, `host` or `host:port`, that may be spoken to without TLS.
    allow_http: Option<Vec<String>>,
}

/// Where files lie.
#[derive(JsonSchema)]
struct PathsSection {
    /// The containers' file, absolute.
    lxc_config_file: Option<String>,
}

/// What is done when something fails.
#[derive(JsonSchema)]
struct BehaviorSection {
    /// Whether the operators' scripts remove what they could not finish.
    rollback_on_failure: Option<bool>,
}

/// A CTID, in quotes or, as some write it, without.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Ctid {
    Text(#[schemars(regex(pattern = "^[1-9][0-9]{2,8}$"))] String),
    Number(#[schemars(range(min = 100, max = 999_999_999))] u32),
}

/// GPUs by any of their names, or one by its bare number.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Gpus {
    Text(String),
    Number(#[schemars(range(max = 253))] u32),
}

/// Permission bits: octal digits, in quotes or, as some write them, without.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum Mode {
    Text(#[schemars(regex(pattern = "^0?[0-7]{3}$"))] String),
    Number(#[schemars(range(max = 777))] u32),
}

/// Several texts, or one with commas.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
enum ListOrText {
    List(Vec<String>),
    Text(String),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use serde_json::Value;

    use super::*;
    use crate::config::keys;

    const DOCUMENT: &str = include_str!("../../docs/config.md");

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    /// Both files with the pointer of each object that has keys, and the keys as the reader knows them.
    fn sections() -> Vec<(Value, &'static str, Vec<&'static str>)> {
        let containers = value(&of_containers());
        let hypervisor = value(&of_hypervisor());
        let not_read = ["install", "cuda_version"];
        let driver = keys::HYPERVISOR_DRIVER.iter().copied().filter(|key| !not_read.contains(key)).collect();
        vec![
            (containers.clone(), "/properties", [keys::ROOT, keys::SCALARS].concat()),
            (containers.clone(), "/$defs/Entry/properties", [keys::SCALARS, keys::COMPOSED].concat()),
            (containers.clone(), "/$defs/NetworkEntry/properties", keys::NETWORK.to_vec()),
            (containers.clone(), "/$defs/MountEntry/properties", keys::MOUNT.to_vec()),
            (containers, "/$defs/VolumeEntry/properties", keys::VOLUME.to_vec()),
            (hypervisor.clone(), "/properties", keys::HYPERVISOR_ROOT.to_vec()),
            (hypervisor.clone(), "/$defs/DriverSection/properties", driver),
            (hypervisor.clone(), "/$defs/HypervisorSection/properties", vec!["backend"]),
            (hypervisor.clone(), "/$defs/PathsSection/properties", vec!["lxc_config_file"]),
            (hypervisor, "/$defs/BehaviorSection/properties", vec!["rollback_on_failure"]),
        ]
    }

    fn properties(schema: &Value, pointer: &str) -> BTreeSet<String> {
        let object = schema.pointer(pointer).and_then(Value::as_object);
        object.unwrap_or_else(|| panic!("{pointer}")).keys().cloned().collect()
    }

    #[test]
    fn the_checked_in_schemas_are_those_of_the_types() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("etc/schema");
        for (name, text) in [
            ("phoenix_lxc_configs.schema.json", of_containers()),
            ("phoenix_hypervisor_config.schema.json", of_hypervisor()),
        ] {
            let path = directory.join(name);
            if std::env::var_os("UPDATE_SCHEMAS").is_some() {
                crate::sys::atomic::write(&path, text.as_bytes(), 0o644).unwrap();
            }
            let checked_in = fs_err::read_to_string(&path).unwrap();
            assert!(checked_in == text, "`UPDATE_SCHEMAS=1 cargo test --lib schema` rewrites {}", path.display());
        }
    }

    #[test]
    fn the_schemas_have_the_keys_that_are_read_and_no_others() {
        for (schema, pointer, read) in sections() {
            let read: BTreeSet<String> = read.into_iter().map(str::to_owned).collect();
            assert_eq!(properties(&schema, pointer), read, "{pointer}");
        }
    }

    #[test]
    fn the_schemas_demand_only_what_reading_demands() {
        let required = |schema: &Value, pointer: &str| {
            let list = schema.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<_>>()
        };
        let schema = value(&of_containers());
        assert_eq!(required(&schema, "/required"), ["lxc_configs"]);
        assert_eq!(required(&schema, "/$defs/Entry/required"), Vec::<String>::new(), "the root may give a name");
        assert_eq!(required(&schema, "/$defs/NetworkEntry/required"), ["name", "bridge", "ip"]);
        assert_eq!(required(&schema, "/$defs/MountEntry/required"), ["host_path", "container_path"]);
        assert_eq!(required(&schema, "/$defs/VolumeEntry/required"), keys::VOLUME);
        assert_eq!(required(&value(&of_hypervisor()), "/required"), Vec::<String>::new());
        assert!(!of_containers().contains("additionalProperties\": false"), "other tools keep keys of their own");
    }

    #[test]
    fn every_key_is_documented() {
        for (schema, pointer, _) in sections() {
            for key in properties(&schema, pointer) {
                let row = DOCUMENT.lines().any(|line| {
                    let names = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |"));
                    names.is_some_and(|(name, _)| name == key || name.ends_with(&format!(".{key}")))
                });
                assert!(row, "docs/config.md has no row for `{key}`, {pointer}");
            }
        }
    }

    #[test]
    fn every_documented_key_is_read() {
        let known: BTreeSet<String> =
            sections().iter().flat_map(|(schema, pointer, _)| properties(schema, pointer)).collect();
        for line in DOCUMENT.lines() {
            let Some((name, _)) = line.strip_prefix("| `").and_then(|rest| rest.split_once("` |")) else { continue };
            let key = name.rsplit('.').next().unwrap();
            assert!(known.contains(key), "docs/config.md documents `{name}`, which nobody reads");
        }
    }
}
