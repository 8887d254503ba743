//! What `modinfo` says of NVIDIA's kernel module on disk, whatever the module is called there.

use std::time::Duration;

use crate::driver::kernels;
use crate::sys::cancel::Cancel;
use crate::sys::command::Command;

const DEADLINE: Duration = Duration::from_secs(10);

/// A field of the module for a kernel, or for the one that runs; nothing where there is no such module.
///
/// Debian's packages call it `nvidia-current`, `nvidia-tesla-470` and so on. Only `modprobe` knows that this is meant by
/// `nvidia` (an `install` line in `/etc/modprobe.d`); `modinfo` does not find it then (kmod 30).
pub(super) fn field(kernel: Option<&str>, field: &str, cancel: &Cancel) -> Option<String> {
    let modinfo = |module: &str| {
        let command = Command::new("modinfo").args(kernel.iter().flat_map(|kernel| ["-k", kernel]));
        ask(command.args(["-F", field, module]), cancel)
    };
    modinfo("nvidia").or_else(|| {
        let command = Command::new("modprobe").args(kernel.iter().flat_map(|kernel| ["-S", kernel]));
        let said = ask(command.args(["--show-depends", "nvidia"]), cancel)?;
        modinfo(kernels::meant_by_install_line(&said)?)
    })
}

fn ask(command: Command, cancel: &Cancel) -> Option<String> {
    let output = command.env("LC_ALL", "C").deadline(DEADLINE).run(cancel).ok()?;
    output.success().then(|| output.stdout_text())
}
