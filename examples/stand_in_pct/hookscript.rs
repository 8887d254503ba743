//! Hookscripts, in the four phases and with the words of pve-container 6.1.10: one that fails stops a start and nothing
//! else. What they print is printed.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::Failure;
use crate::file::File;
use crate::node::Node;

/// That a hookscript can be one: a snippet that is there and executable.
pub(crate) fn check(node: &Node, volume: &str) -> Result<(), Failure> {
    match fs_err::metadata(path(node, volume)) {
        Err(_) => Err(Failure::with_code(2, format!("script '{volume}' does not exist"))),
        Ok(it) if it.permissions().mode() & 0o111 == 0 => {
            Err(Failure::new(format!("script '{volume}' is not executable")))
        }
        Ok(_) => Ok(()),
    }
}

/// Runs a container's script in a phase in which its failure is an end.
pub(crate) fn run(node: &Node, id: &str, file: &File, phase: &str) -> Result<(), Failure> {
    let Some(volume) = file.main.keys.get("hookscript") else { return Ok(()) };
    let script = path(node, volume);
    let failed = |how: String| {
        let command = format!("command '{} {id} {phase}' failed: {how}", script.display());
        Failure::new(format!("hookscript error for {id} on {phase}: {command}"))
    };
    #[expect(clippy::disallowed_methods, reason = "this program stands alone, without the library")]
    let output = std::process::Command::new(&script)
        .args([id, phase])
        .env("LC_ALL", "C")
        .stdin(std::process::Stdio::null())
        .output()
        .map_err(|error| failed(error.to_string()))?;
    print!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    match output.status.code() {
        Some(0) => Ok(()),
        Some(code) => Err(failed(format!("exit code {code}"))),
        None => Err(failed("got signal".to_owned())),
    }
}

/// The same, where a failure is only told.
pub(crate) fn tell(node: &Node, id: &str, file: &File, phase: &str) {
    if let Err(Failure { said, .. }) = run(node, id, file, phase) {
        println!("{said}\n");
    }
}

fn path(node: &Node, volume: &str) -> PathBuf {
    let (pool, name) = volume.split_once(':').unwrap_or(("none", volume));
    node.pools().join(pool).join(name)
}
