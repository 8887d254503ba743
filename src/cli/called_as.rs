//! The names other than its own that the program is called by, and the subcommands that they stand for.

use std::ffi::OsString;
use std::path::Path;

/// The name under which the operators' orchestrator calls the driver's installation.
const FEATURE_SCRIPT: &str = "phoenix_hypervisor_feature_install_nvidia.sh";

/// The name that stands for `hook` in a directory of Proxmox VE's snippets, with any extension.
const HOOKSCRIPT: &str = "phoenix-nvidia-hook";

/// The words as they are, unless the program is called by a name that stands for a subcommand.
///
/// As the orchestrator's feature script, the words are `CTID [anything]` and mean `install CTID`; as a hookscript they
/// are `VMID PHASE`.
pub(crate) fn as_subcommand(words: Vec<OsString>) -> Vec<OsString> {
    let called_as = words.first().map(Path::new);
    let (verb, taken) = if called_as.and_then(Path::file_name) == Some(FEATURE_SCRIPT.as_ref()) {
        ("install", 1)
    } else if called_as.and_then(Path::file_stem) == Some(HOOKSCRIPT.as_ref()) {
        ("hook", usize::MAX)
    } else {
        return words;
    };
    let rewritten = [OsString::from("phoenix-nvidia"), OsString::from(verb)];
    rewritten.into_iter().chain(words.into_iter().skip(1).take(taken)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_can_stand_for_a_subcommand() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let script = "/usr/local/phoenix_hypervisor/bin/lxc_setup/phoenix_hypervisor_feature_install_nvidia.sh";
        let install = words(&["phoenix-nvidia", "install", "901"]);
        assert_eq!(as_subcommand(words(&[script, "901"])), install);
        assert_eq!(as_subcommand(words(&[script, "901", "{\"name\": \"gpu\"}"])), install);
        let hook = words(&["phoenix-nvidia", "hook", "901", "pre-start"]);
        assert_eq!(as_subcommand(words(&["/var/lib/vz/snippets/phoenix-nvidia-hook.sh", "901", "pre-start"])), hook);
        assert_eq!(as_subcommand(words(&["phoenix-nvidia", "lint"])), words(&["phoenix-nvidia", "lint"]));
    }
}
