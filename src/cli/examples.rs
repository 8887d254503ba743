//! Two calls for every subcommand: at the end of its help, and in its man page.

/// A call, and what it does.
pub(crate) type Example = (&'static str, &'static str);

/// The examples of each subcommand; the program itself has the empty name.
#[rustfmt::skip]
pub(crate) const EXAMPLES: [(&str, [Example; 2]); 35] = [
    ("", [
        ("status", "how all containers are"),
        ("create 901", "create container 901 and install its driver"),
    ]),
    ("create", [
        ("create 901 902", "create both and install their drivers"),
        ("create --all --dry-run", "show what would be created or changed"),
    ]),
    ("install", [
        ("install 901", "install the configured driver"),
        ("install --gpu --method native", "in all containers with GPUs, running or stopped"),
    ]),
    ("verify", [
        ("verify 901", "ask the driver in container 901"),
        ("verify --gpu --require-live", "all with GPUs; fail if one cannot be asked"),
    ]),
    ("status", [
        ("status --live", "all containers; ask the drivers that run"),
        ("status --watch=10 901", "container 901, every 10 seconds"),
    ]),
    ("plan", [
        ("plan --all", "what `apply --all` would do"),
        ("plan --all --save plan.json", "save it for `apply plan.json`"),
    ]),
    ("apply", [
        ("apply --gpu --target host", "follow the host's kernel module"),
        ("apply plan.json", "carry out a saved plan"),
    ]),
    ("adopt", [
        ("adopt 901", "print an entry for an existing container"),
        ("adopt --write", "make the containers' file, where there is none"),
    ]),
    ("uninstall", [
        ("uninstall 901", "remove the driver from container 901"),
        ("uninstall --all --dry-run", "show what would be removed"),
    ]),
    ("destroy", [
        ("destroy --dry-run 901", "show what would be destroyed"),
        ("destroy --yes 901 902", "destroy both without a question"),
    ]),
    ("cache", [
        ("cache list", "the run files and their state"),
        ("cache fetch", "download what the containers want"),
    ]),
    ("cache list", [
        ("cache list", "version, state, size and checksum of each"),
        ("cache list --output json", "for programs"),
    ]),
    ("cache fetch", [
        ("cache fetch", "the versions that the containers want"),
        ("cache fetch 580.76.05", "one version"),
    ]),
    ("cache verify", [
        ("cache verify", "exit code 7 if a file is damaged"),
        ("cache verify --quiet", "only warnings and errors on standard error"),
    ]),
    ("cache import", [
        ("cache import NVIDIA-Linux-x86_64-580.76.05.run", "import a file that you downloaded"),
        ("cache import --dry-run my.run", "only check it"),
    ]),
    ("cache replace", [
        ("cache replace NVIDIA-Linux-x86_64-580.76.05.run", "replace the recorded file"),
        ("cache replace --dry-run my.run", "show which one it would replace"),
    ]),
    ("cache prune", [
        ("cache prune --dry-run", "show what would be removed"),
        ("cache prune", "remove what no container needs"),
    ]),
    ("store", [
        ("store list", "the extracted drivers and images"),
        ("store prune --dry-run", "what no container needs"),
    ]),
    ("store list", [
        ("store list", "state, size and directory of each"),
        ("store list --output json", "for programs"),
    ]),
    ("store extract", [
        ("store extract 580.76.05", "fetch and extract it before it is needed"),
        ("store extract --dry-run 580.76.05", "show whether it would be extracted"),
    ]),
    ("store verify", [
        ("store verify", "all extracted drivers"),
        ("store verify 580.76.05", "one version"),
    ]),
    ("store prune", [
        ("store prune --dry-run", "show what would be removed"),
        ("store prune", "remove what no container needs"),
    ]),
    ("host", [
        ("host show", "module, GPUs and device nodes"),
        ("host prepare", "load modules and make device nodes"),
    ]),
    ("host show", [
        ("host show", "module, GPUs and device nodes"),
        ("host show --output json", "for programs"),
    ]),
    ("host prepare", [
        ("host prepare --dry-run", "show what would be done"),
        ("host prepare", "load modules and make device nodes"),
    ]),
    ("update-check", [
        ("update-check", "newer drivers for this host"),
        ("update-check --output json", "for programs"),
    ]),
    ("hook", [
        ("hook 901 pre-start", "as Proxmox VE calls it"),
        ("hook jellyfin lxc pre-start", "as liblxc calls it"),
    ]),
    ("doctor", [
        ("doctor", "the host"),
        ("doctor 901", "the host and container 901"),
    ]),
    ("cdi", [
        ("cdi 901", "write `/etc/cdi/nvidia.json` in container 901"),
        ("cdi --print 901", "print it"),
    ]),
    ("docker", [
        ("docker 901", "configure Docker in container 901"),
        ("docker --dry-run 901", "show what would be changed"),
    ]),
    ("lint", [
        ("lint", "check both files of this host"),
        ("lint --config new.json", "check a file before it is used"),
    ]),
    ("completions", [
        ("completions bash > /etc/bash_completion.d/phoenix-nvidia", "for bash"),
        ("completions fish > ~/.config/fish/completions/phoenix-nvidia.fish", "for fish"),
    ]),
    ("man", [
        ("man /usr/local/share/man/man1", "where `man` finds them"),
        ("man .", "in the current directory"),
    ]),
    ("help", [
        ("help cache fetch", "the help of `cache fetch`"),
        ("help options", "the options of every subcommand"),
    ]),
    ("help options", [
        ("status --output json", "JSON instead of a table"),
        ("lint --config new.json", "another containers' file"),
    ]),
];

/// The examples of a subcommand: `cache fetch`.
pub(crate) fn of(subcommand: &str) -> &'static [Example] {
    let found = EXAMPLES.iter().find(|(name, _)| *name == subcommand);
    found.map_or(&[], |(_, examples)| examples)
}

/// The same as lines, aligned, as comments of a shell, so that each can be copied as it is.
pub(crate) fn as_text(subcommand: &str) -> String {
    let examples = of(subcommand);
    let width = examples.iter().map(|(call, _)| call.len()).max().unwrap_or_default();
    let line = |(call, what): &Example| format!("\n  phoenix-nvidia {call:width$}  # {what}");
    format!("Examples:{}", examples.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_fits_and_names_its_subcommand() {
        for (name, examples) in EXAMPLES {
            assert!(as_text(name).lines().all(|line| line.len() <= 100), "{name}");
            let is_its_own = |(call, _): &Example| call.starts_with(name) || name == "help options";
            assert!(examples.iter().all(is_its_own), "{name}");
        }
    }
}
