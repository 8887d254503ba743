//! What a call without a subcommand says on a terminal: what there is on this host, and the command to type next.

use phoenix_nvidia::error::Result;
use phoenix_nvidia::status::{Asking, ContainerStatus, status};

use super::arguments::Global;
use super::session::Session;
use super::{Ended, selection, terminal};

pub(crate) fn run(global: &Global) -> Result<Ended> {
    let mut session = Session::new(global, true)?;
    session.find(&[])?;
    let (hypervisor, containers, rows) = session.with_fleet_as_root(|fleet| {
        let rows = status(fleet, &selection::known(&session, false), Asking::Nobody)?;
        Ok((fleet.hypervisor.name(), fleet.hypervisor.ids()?.len(), rows))
    })?;
    let host = session.host();
    let with_gpus = rows.iter().filter(|row| !row.gpus.is_empty() || row.wanted.is_some());
    let with_gpus: Vec<&ContainerStatus> = with_gpus.collect();
    let in_sync = with_gpus.iter().filter(|row| row.in_sync == Some(true)).count();
    let module = host.loaded.as_ref().map_or_else(|| "not loaded".to_owned(), |version| format!("NVIDIA {version}"));
    terminal::data(&format!(
        "hypervisor:     {hypervisor}, containers: {containers}\n\
         kernel module:  {module}\n\
         GPUs:           {}\n\
         with GPUs:      {} containers, in sync: {in_sync}\n\
         next:           {}\n",
        host.gpus.len(),
        with_gpus.len(),
        next(host.loaded.is_some(), with_gpus.len(), in_sync)
    ))?;
    Ok(Ended::Well)
}

/// The command that leads on from here.
fn next(is_loaded: bool, with_gpus: usize, in_sync: usize) -> &'static str {
    match (is_loaded, with_gpus) {
        (false, _) => "phoenix-nvidia doctor       (why the module is missing)",
        (true, 0) => "phoenix-nvidia host show    (which device nodes a container can be given)",
        (true, count) if count > in_sync => "phoenix-nvidia plan --all   (what `apply --all` would do)",
        (true, _) => "phoenix-nvidia verify --all (ask the drivers themselves)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_command_follows_from_what_there_is() {
        assert!(next(false, 2, 0).contains("doctor"));
        assert!(next(true, 0, 0).contains("host show"));
        assert!(next(true, 2, 1).contains("plan --all"));
        assert!(next(true, 2, 2).contains("verify --all"));
    }
}
