//! `hook`: the check before a container starts, as Proxmox VE and liblxc call it.

use std::ffi::OsString;

use phoenix_nvidia::config::Configuration;
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::fleet::before_start::BeforeStart;
use phoenix_nvidia::sys::cancel::Cancel;

use super::arguments::Global;
use super::context::Context;
use super::{Ended, context, log_file, progress, terminal};

/// The moment that is checked; both callers call it so.
const PRE_START: &str = "pre-start";
/// The phases of a hookscript (pve-container 6.1.10).
const PHASES: [&str; 4] = [PRE_START, "post-start", "pre-stop", "post-stop"];

pub(crate) fn run(global: &Global, words: &[OsString]) -> Result<Ended> {
    log_file::open(Some(&global.log_file), global.verbose)?;
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let variable = |name| std::env::var(name).ok();
    match called(&words, variable("LXC_NAME"), variable("LXC_HOOK_TYPE")) {
        Ok(Some(id)) => check(global, id),
        Ok(None) => Ok(Ended::Well),
        // A word that nobody knows must not keep containers from stopping.
        Err(error) if words.get(1).is_some_and(|phase| phase != PRE_START) => {
            terminal::error(&error);
            Ok(Ended::Well)
        }
        Err(error) => Err(error),
    }
}

fn check(global: &Global, id: ContainerId) -> Result<Ended> {
    let layout = context::layout(global);
    let (listener, cancel) = (progress::listener(global), Cancel::new()?);
    match Configuration::load(&layout) {
        Ok(configuration) => {
            let bring_in_step = |id, host: &DriverVersion| bring_in_step(global, id, host);
            let before_start = BeforeStart {
                configuration: &configuration,
                layout: &layout,
                listener: &*listener,
                cancel: &cancel,
                bring_in_step: &bring_in_step,
            };
            before_start.check(id)?;
        }
        // Nobody can say then that the container has to do with NVIDIA.
        Err(error) => listener.warn(Some(id), format!("nothing was checked: {}", error.message())),
    }
    Ok(Ended::Well)
}

fn bring_in_step(global: &Global, id: ContainerId, host: &DriverVersion) -> Result<()> {
    let mut context = Context::new(global, false)?;
    context.configuration.follow(&[id], host);
    context.with_fleet_before_start(id, |fleet| fleet.install_before_start(id))
}

/// The container that is about to start; `None` at any other moment, and for one that has no CTID.
///
/// Proxmox VE calls `VMID PHASE`. liblxc (5.0.2) appends `NAME lxc HOOK`, or with `lxc.hook.version = 1` nothing, and
/// then says it in `LXC_NAME` and `LXC_HOOK_TYPE`.
fn called(words: &[String], name: Option<String>, hook: Option<String>) -> Result<Option<ContainerId>> {
    let by_lxc = |name: &str, hook: &str| if hook == PRE_START { name.parse().ok() } else { None };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => match (name, hook) {
            (Some(name), Some(hook)) => Ok(by_lxc(&name, &hook)),
            _ => Err(misused("`hook` is called by Proxmox VE and liblxc, and here by neither")),
        },
        [name, "lxc", hook, ..] => Ok(by_lxc(name, hook)),
        [_, "net", ..] => Ok(None),
        [id, phase] if PHASES.contains(phase) => {
            let id = id.parse::<ContainerId>()?;
            Ok((*phase == PRE_START).then_some(id))
        }
        [_, phase] => Err(misused(&format!("`{phase}` is no phase of a hookscript"))),
        _ => Err(misused("`hook` takes a VMID and a phase")),
    }
}

fn misused(message: &str) -> Error {
    Error::new(Kind::Usage, message).hint("call it as `phoenix-nvidia hook 901 pre-start`")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn called_with(words: &[&str], environment: Option<(&str, &str)>) -> Option<Option<String>> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let (name, hook) = environment.map(|(name, hook)| (name.to_owned(), hook.to_owned())).unzip();
        called(&words, name, hook).ok().map(|id| id.map(|id| id.to_string()))
    }

    #[test]
    fn both_callers_are_understood() {
        let about_to_start = Some(Some("901".to_owned()));
        assert_eq!(called_with(&["901", "pre-start"], None), about_to_start);
        assert_eq!(called_with(&["901", "lxc", "pre-start"], Some(("901", "pre-start"))), about_to_start);
        assert_eq!(called_with(&[], Some(("901", "pre-start"))), about_to_start);
        // liblxc's variables are there when Proxmox VE calls after the end, too.
        assert_eq!(called_with(&["901", "post-stop"], Some(("901", "pre-start"))), Some(None));
        assert_eq!(called_with(&["web", "lxc", "pre-start"], None), Some(None), "a name is no CTID");
        assert_eq!(called_with(&["901", "lxc", "mount"], None), Some(None));
        assert_eq!(called_with(&["901", "net", "up", "veth", "eth0"], None), Some(None));
    }

    #[test]
    fn what_neither_would_call_is_refused() {
        for words in [&["901"][..], &["web", "pre-start"], &["901", "prestart"], &["901", "pre-start", "x"], &[]] {
            assert_eq!(called_with(words, None), None, "{words:?}");
        }
    }
}
