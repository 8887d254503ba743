//! `hook`: the check before a container starts, as Proxmox VE and liblxc call it.

use std::ffi::OsString;

use phoenix_nvidia::config::{Configuration, Container, Context, Layout, Method};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::event::Listener;
use phoenix_nvidia::fleet::Fleet;
use phoenix_nvidia::fleet::before_start::BeforeStart;
use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::hypervisor::Settings;
use phoenix_nvidia::hypervisor::lxc::Lxc;
use phoenix_nvidia::hypervisor::proxmox::Proxmox;
use phoenix_nvidia::sys::apparmor;
use phoenix_nvidia::sys::cancel::Cancel;

use super::arguments::{Backend, Global};
use super::session::Session;
use super::{Ended, log_file, progress, session, terminal};

/// The moment of the check; both callers call it so.
const PRE_START: &str = "pre-start";
/// The moment in which `pct` has just started a container's init.
const POST_START: &str = "post-start";
/// The moment in which liblxc has set up a container's root, and its init waits to be started.
const START_HOST: &str = "start-host";
/// The phases of a hookscript (pve-container 6.1.10).
const PHASES: [&str; 4] = [PRE_START, POST_START, "pre-stop", "post-stop"];

/// What happens to a container at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// `pct` is about to start it, and will call again when it has.
    BeforePct,
    /// liblxc is about to start it.
    BeforeLiblxc,
    /// liblxc has set up its root; this process becomes its init when the hook has ended.
    SetUp { init: u32 },
    /// `pct` has just started it.
    Started,
}

pub(crate) fn run(global: &Global, words: &[OsString]) -> Result<Ended> {
    log_file::open(Some(&global.log_file), global.verbose)?;
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    match called(&words, |name| std::env::var(name).ok()) {
        Ok(Some((id, moment))) => check(global, id, moment),
        Ok(None) => Ok(Ended::Well),
        // A word that nobody knows must not keep containers from stopping.
        Err(error) if words.get(1).is_some_and(|phase| phase != PRE_START) => {
            terminal::error(&error);
            Ok(Ended::Well)
        }
        Err(error) => Err(error),
    }
}

fn check(global: &Global, id: ContainerId, moment: Moment) -> Result<Ended> {
    let layout = session::layout(global);
    let listener = progress::listener(global);
    // Before anything that starts a thread, which would stay confined.
    if let (Moment::BeforeLiblxc | Moment::SetUp { .. }, Err(error)) = (moment, apparmor::leave_profile()) {
        listener.warn(Some(id), error.message());
    }
    let cancel = Cancel::new()?;
    let is_first = matches!(moment, Moment::BeforePct | Moment::BeforeLiblxc);
    let configuration = session::require_named_files(global).and_then(|()| NvidiaHost::read()).and_then(|host| {
        let mut configuration = session::configuration_for(id, &layout, &host, &cancel)?;
        if !configuration.has_file() {
            let context = Context::new(&layout, &*listener, &cancel);
            configuration.add_found(vec![found(global, context, id, moment, &host, &configuration)?]);
        }
        Ok(configuration)
    });
    match configuration {
        Ok(configuration) => {
            let bring_in_sync = |id, host: &DriverVersion| bring_in_sync(global, id, host, moment);
            let allow_nodes = |id| allow_nodes(global, &layout, &*listener, &cancel, id, moment);
            let before_start = BeforeStart {
                configuration: &configuration,
                context: Context::new(&layout, &*listener, &cancel),
                allow_nodes: &allow_nodes,
                bring_in_sync: &bring_in_sync,
            };
            if is_first { before_start.check(id)? } else { before_start.check_root(id)? }
        }
        // Nobody can say then that the container has to do with NVIDIA.
        Err(error) if is_first => listener.warn(Some(id), format!("the driver was not checked: {}", error.message())),
        Err(_) => {}
    }
    Ok(Ended::Well)
}

/// The container as its own settings describe it, where no file describes any.
fn found(
    global: &Global,
    context: Context<'_>,
    id: ContainerId,
    moment: Moment,
    host: &NvidiaHost,
    configuration: &Configuration,
) -> Result<Container> {
    let as_it_is = match moment {
        Moment::BeforePct | Moment::Started => Proxmox::new(session::node(global), context).as_it_is(id)?,
        Moment::BeforeLiblxc | Moment::SetUp { .. } => {
            Lxc::new(&global.lxcpath, &global.pve_root, context.cancel).as_it_is(id)?
        }
    };
    let driver = host.loaded.as_ref().map(|version| configuration.driver_of(version, None));
    Ok(Container::found(id, as_it_is.name, &as_it_is.nodes, driver))
}

/// What `pct` has written before it called this hook is right again.
fn allow_nodes(
    global: &Global,
    layout: &Layout,
    listener: &dyn Listener,
    cancel: &Cancel,
    id: ContainerId,
    moment: Moment,
) -> Result<()> {
    if moment != Moment::BeforePct {
        return Ok(());
    }
    let proxmox = Proxmox::new(session::node(global), Context::new(layout, listener, cancel));
    proxmox.make_second_nodes(id);
    if proxmox.allow_present_nodes(id)? {
        listener.note(Some(id), "allowed its device nodes by their present numbers");
    }
    Ok(())
}

/// Brings a container in sync now, where its root is there, or does what can be done before.
fn bring_in_sync(global: &Global, id: ContainerId, host: &DriverVersion, moment: Moment) -> Result<()> {
    let mut session = Session::new(global, false)?;
    session.configuration.follow(&[id], host);
    let is_proxmox = session.backend() == Backend::Proxmox;
    let install = |fleet: &Fleet<'_>| fleet.install_while_starting(id);
    match moment {
        Moment::BeforePct if is_proxmox => session.with_fleet(|fleet| fleet.prepare_while_starting(id)),
        Moment::BeforeLiblxc | Moment::SetUp { .. } if is_proxmox => {
            // Its own hook mounts the root, and `pct` changes the file that raw lines stand in (pve-container 6.1.10).
            Err(Error::new(Kind::Configuration, format!("container {id}: only a hookscript can update it"))
                .hint("set this program as its `hookscript` in Proxmox VE, and remove its line from `lxc_options`"))
        }
        Moment::BeforePct | Moment::BeforeLiblxc if is_shared(&session, id) => {
            // The container's settings, with the mounts of its images, have been read already.
            require_second_hook(&session, id)?;
            session.with_fleet(|fleet| fleet.prepare_while_starting(id))
        }
        Moment::BeforePct | Moment::BeforeLiblxc => session.with_hypervisor(&session.lxc().about_to_start(id), install),
        Moment::SetUp { init } => session.with_hypervisor(&session.lxc().set_up(id, init), install),
        // Only `pct` starts containers so that this moment comes in time.
        Moment::Started if !is_proxmox => Ok(()),
        Moment::Started => {
            let (proxmox, _still) = session.proxmox().just_started(id)?;
            session.with_hypervisor(&proxmox, install)
        }
    }
}

fn is_shared(session: &Session<'_>, id: ContainerId) -> bool {
    let driver = session.configuration.container(id).ok().and_then(|container| container.driver.as_ref());
    driver.is_some_and(|driver| driver.method() == Method::Shared)
}

fn require_second_hook(session: &Session<'_>, id: ContainerId) -> Result<()> {
    if session.lxc().has_hook_when_set_up(id) {
        return Ok(());
    }
    let message =
        format!("container {id}: a driver with the method `shared` can only be mounted while its root is set up");
    Err(Error::new(Kind::Configuration, message).hint(
        "add \"lxc.hook.start-host = /usr/local/bin/phoenix-nvidia hook\" to its `lxc_options`, then run `phoenix-nvidia create`",
    ))
}

/// The container that is being started, and the moment; `None` at any other moment, and for one that has no CTID.
///
/// Proxmox VE calls `VMID PHASE`. liblxc (5.0.2) appends `NAME lxc HOOK`, or with `lxc.hook.version = 1` nothing, and
/// then says it in `LXC_NAME` and `LXC_HOOK_TYPE`. What becomes a container's init is in `LXC_PID`.
fn called(words: &[String], variable: impl Fn(&str) -> Option<String>) -> Result<Option<(ContainerId, Moment)>> {
    let by_lxc = |name: &str, hook: &str| {
        let id = name.parse().ok()?;
        match hook {
            PRE_START => Some((id, Moment::BeforeLiblxc)),
            START_HOST => Some((id, Moment::SetUp { init: variable("LXC_PID")?.parse().ok()? })),
            _ => None,
        }
    };
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        [] => match (variable("LXC_NAME"), variable("LXC_HOOK_TYPE")) {
            (Some(name), Some(hook)) => Ok(by_lxc(&name, &hook)),
            _ => Err(misused("`hook` is only called by Proxmox VE and liblxc")),
        },
        [name, "lxc", hook, ..] => Ok(by_lxc(name, hook)),
        [_, "net", ..] => Ok(None),
        [id, phase] if PHASES.contains(phase) => {
            let id = id.parse::<ContainerId>().ok().filter(|id| id.number().is_some());
            let id = id.ok_or_else(|| misused("`hook` takes a VMID, which is a number, and a phase"))?;
            let moment = match *phase {
                PRE_START => Some(Moment::BeforePct),
                POST_START => Some(Moment::Started),
                _ => None,
            };
            Ok(moment.map(|moment| (id, moment)))
        }
        [_, phase] => Err(misused(&format!("`{phase}` is not a phase of a hookscript"))),
        _ => Err(misused("`hook` takes a VMID and a phase")),
    }
}

fn misused(message: &str) -> Error {
    Error::new(Kind::Usage, message).hint("run `phoenix-nvidia hook 901 pre-start`")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is understood: the container and the moment, or that it is none of ours; `None` for what is refused.
    fn called_with(words: &[&str], environment: &[(&str, &str)]) -> Option<Option<(String, Moment)>> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let variable = |name: &str| {
            let found = environment.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        called(&words, variable).ok().map(|found| found.map(|(id, moment)| (id.to_string(), moment)))
    }

    #[test]
    fn both_callers_are_understood() {
        let by_liblxc = |hook| [("LXC_NAME", "901"), ("LXC_HOOK_TYPE", hook), ("LXC_PID", "77")];
        let about = |moment| Some(Some(("901".to_owned(), moment)));
        assert_eq!(called_with(&["901", "pre-start"], &[]), about(Moment::BeforePct));
        assert_eq!(called_with(&["901", "post-start"], &[]), about(Moment::Started));
        assert_eq!(called_with(&["901", "lxc", "pre-start"], &by_liblxc("pre-start")), about(Moment::BeforeLiblxc));
        assert_eq!(called_with(&[], &by_liblxc("pre-start")), about(Moment::BeforeLiblxc));
        let set_up = about(Moment::SetUp { init: 77 });
        assert_eq!(called_with(&["901", "lxc", "start-host"], &by_liblxc("start-host")), set_up);
        assert_eq!(called_with(&[], &by_liblxc("start-host")), set_up);
        // liblxc's variables are there when Proxmox VE calls after the end, too.
        assert_eq!(called_with(&["901", "post-stop"], &by_liblxc("pre-start")), Some(None));
        let web = Some(Some(("web".to_owned(), Moment::BeforeLiblxc)));
        assert_eq!(called_with(&["web", "lxc", "pre-start"], &[]), web, "a container of plain LXC may have a name");
        assert_eq!(called_with(&["901", "lxc", "mount"], &[]), Some(None));
        assert_eq!(called_with(&["901", "lxc", "start-host"], &[]), Some(None), "nobody says which process it is");
        assert_eq!(called_with(&["901", "net", "up", "veth", "eth0"], &[]), Some(None));
    }

    #[test]
    fn what_neither_would_call_is_refused() {
        for words in [&["901"][..], &["-web", "pre-start"], &["901", "prestart"], &["901", "pre-start", "x"], &[]] {
            assert_eq!(called_with(words, &[]), None, "{words:?}");
        }
    }
}
