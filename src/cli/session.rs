//! What a subcommand works with: configuration, hypervisor, cache, host, and the wish to be interrupted.

use std::cell::OnceCell;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use phoenix_nvidia::cache::{Cache, Settings};
use phoenix_nvidia::config::{self, Configuration, Context, Layout, OnHost};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::event::Listener;
use phoenix_nvidia::fleet::Fleet;
use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::hypervisor::Hypervisor;
use phoenix_nvidia::hypervisor::lxc::Lxc;
use phoenix_nvidia::hypervisor::proxmox::{self, Node, Proxmox};
use phoenix_nvidia::store::Store;
use phoenix_nvidia::sys::cancel::Cancel;

use super::arguments::{Backend, Global, Output};
use super::{log_file, progress};

/// The program of Incus.
const INCUS: &str = "/usr/bin/incus";

/// Everything that does not borrow from each other.
pub(crate) struct Session<'a> {
    pub(crate) global: &'a Global,
    pub(crate) layout: Layout,
    pub(crate) configuration: Configuration,
    pub(crate) listener: Box<dyn Listener>,
    pub(crate) cancel: Arc<Cancel>,
    /// How many containers are worked on at the same time.
    pub(crate) jobs: NonZeroUsize,
    /// How long a container that was started may take until its systemd and its network are up.
    pub(crate) boot_patience: Duration,
    host: NvidiaHost,
    /// What [`Session::find`] was last asked for.
    looked_for: Option<Vec<ContainerId>>,
}

impl<'a> Session<'a> {
    /// Everything for a run; one that is a rehearsal writes no log either.
    pub(crate) fn new(global: &'a Global, is_rehearsal: bool) -> Result<Self> {
        log_file::open((!is_rehearsal).then_some(&*global.log_file), global.verbose)?;
        let layout = layout(global);
        let cancel = interruptible()?;
        let host = NvidiaHost::read()?;
        let configuration = configuration_on(&layout, &host, &cancel)?;
        Ok(Self {
            global,
            layout,
            configuration,
            listener: progress::listener(global),
            cancel,
            jobs: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            boot_patience: Duration::from_secs(60),
            host,
            looked_for: None,
        })
    }

    /// Reads the configuration and the host again; what cannot be read stays as it was.
    pub(crate) fn read_again(&mut self) -> Result<()> {
        self.host = NvidiaHost::read()?;
        self.configuration = configuration_on(&self.layout, &self.host, &self.cancel)?;
        match self.looked_for.take() {
            Some(ids) => self.find(&ids),
            None => Ok(()),
        }
    }

    /// Adds to the configuration what no file describes: those of these containers that are on this host, or, where none
    /// are named and there is no containers' file, all of this host that have GPUs.
    pub(crate) fn find(&mut self, named: &[ContainerId]) -> Result<()> {
        self.looked_for = Some(named.to_vec());
        let is_known = named.iter().all(|id| self.configuration.knows(*id));
        if is_known && (self.configuration.has_file() || !named.is_empty()) {
            return Ok(());
        }
        if named.is_empty() {
            self.note_what_is_not_looked_at();
        }
        let found = self.with_fleet_as_root(|fleet| {
            let found = if named.is_empty() { fleet.unconfigured()? } else { fleet.unconfigured_among(named)? };
            Ok(found.into_iter().map(|(id, as_it_is)| fleet.described(id, as_it_is)).collect())
        });
        match found {
            Ok(found) => self.configuration.add_found(found),
            // That the file does not define the container is then the error.
            Err(_) if self.configuration.has_file() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Another hypervisor of this host may have containers with GPUs, too.
    fn note_what_is_not_looked_at(&self) {
        if self.backend() != Backend::Incus && Path::new(INCUS).exists() {
            self.listener.note(None, "this host also has Incus, and this release does not look at its containers");
        }
    }

    /// Reports that no container was selected, and where they were looked for.
    pub(crate) fn none_selected(&self, with_gpus: bool) {
        let looked_at = || {
            let counted = self.with_fleet(|fleet| Ok((fleet.hypervisor.name(), fleet.hypervisor.ids()?.len())));
            counted
                .map(|(name, count)| {
                    let is_lxc = self.backend() != Backend::Proxmox;
                    let place = if is_lxc { &self.global.lxcpath } else { &self.global.pve_root };
                    format!(" (containers of `{name}` below `{}`: {count})", place.display())
                })
                .unwrap_or_default()
        };
        let text = match (self.configuration.has_file(), with_gpus) {
            (false, _) => format!("no container of this host has NVIDIA devices in its settings{}", looked_at()),
            (true, true) => format!("no container of `{}` has GPUs", self.configuration.containers_file().display()),
            (true, false) => {
                format!("no container of `{}` is selected", self.configuration.containers_file().display())
            }
        };
        self.listener.note(None, text);
    }

    /// The host's NVIDIA driver.
    pub(crate) fn host(&self) -> &NvidiaHost {
        &self.host
    }

    /// The driver that the host's loaded kernel module has.
    pub(crate) fn require_loaded(&self) -> Result<DriverVersion> {
        self.host.loaded.clone().ok_or_else(|| {
            Error::new(
                Kind::Host,
                "no NVIDIA kernel module is loaded on this host, so `--target host` names no version",
            )
            .hint("load it with `modprobe nvidia`, or leave out `--target host`")
        })
    }

    pub(crate) fn wants_json(&self) -> bool {
        self.global.output == Output::Json
    }

    /// What all work takes along.
    pub(crate) fn context(&self) -> Context<'_> {
        Context::new(&self.layout, &*self.listener, &self.cancel)
    }

    /// The run files of this host.
    pub(crate) fn cache(&self) -> Cache<'_> {
        let hypervisor = self.configuration.hypervisor();
        let settings = Settings {
            allow_http: hypervisor.allow_http.clone(),
            offline: hypervisor.offline,
            lock_patience: Duration::from_secs(self.global.lock_timeout),
            checksums: self.global.checksums.clone(),
            ..Settings::default()
        };
        Cache::new(self.context(), settings)
    }

    /// The extracted drivers of this host.
    pub(crate) fn store(&self) -> Store<'_> {
        let patience = Duration::from_secs(self.global.lock_timeout);
        Store::new(self.context()).patience(patience)
    }

    /// Lets `work` have the whole fleet.
    pub(crate) fn with_fleet<T>(&self, work: impl FnOnce(&Fleet<'_>) -> Result<T>) -> Result<T> {
        self.with_hypervisor(&*self.hypervisor()?, work)
    }

    pub(crate) fn with_hypervisor<T>(
        &self,
        hypervisor: &dyn Hypervisor,
        work: impl FnOnce(&Fleet<'_>) -> Result<T>,
    ) -> Result<T> {
        let (cache, store) = (self.cache(), self.store());
        work(&Fleet {
            configuration: &self.configuration,
            context: self.context(),
            hypervisor,
            cache: &cache,
            store: &store,
            host: &self.host,
            jobs: self.jobs,
            lock_patience: Duration::from_secs(self.global.lock_timeout),
            boot_patience: self.boot_patience,
        })
    }

    /// As [`Session::with_fleet`], for what needs root.
    pub(crate) fn with_fleet_as_root<T>(&self, work: impl FnOnce(&Fleet<'_>) -> Result<T>) -> Result<T> {
        if !rustix::process::geteuid().is_root() {
            return Err(Error::new(Kind::Host, "this command requires root").hint("run the same command with `sudo`"));
        }
        self.with_fleet(work)
    }

    /// What manages the containers of this host.
    pub(crate) fn hypervisor(&self) -> Result<Box<dyn Hypervisor + '_>> {
        match self.backend() {
            Backend::Incus => Err(Error::new(Kind::Usage, "this release supports only plain LXC and Proxmox VE")
                .hint("use `--backend lxc` on a host with plain LXC containers")),
            Backend::Proxmox => Ok(Box::new(self.proxmox())),
            Backend::Auto | Backend::Lxc if Lxc::is_installed() => Ok(Box::new(self.lxc())),
            Backend::Auto | Backend::Lxc => Err(Error::new(Kind::Host, "LXC is not installed on this host")
                .hint("install it: `apt-get install lxc uidmap rsync`")),
        }
    }

    /// The containers of plain LXC.
    pub(crate) fn lxc(&self) -> Lxc<'_> {
        Lxc::new(&self.global.lxcpath, &self.global.pve_root, &self.cancel)
    }

    /// The containers of this node of Proxmox VE.
    pub(crate) fn proxmox(&self) -> Proxmox<'_> {
        Proxmox::new(node(self.global), self.context())
    }

    pub(crate) fn backend(&self) -> Backend {
        match (self.global.backend, self.configuration.hypervisor().backend) {
            (Backend::Auto, Some(config::Backend::Lxc)) => Backend::Lxc,
            (Backend::Auto, Some(config::Backend::Proxmox)) => Backend::Proxmox,
            (Backend::Auto, Some(config::Backend::Incus)) => Backend::Incus,
            (Backend::Auto, None) if proxmox::is_node(&self.global.pve_root) => Backend::Proxmox,
            (Backend::Auto, None) if !Lxc::is_installed() && Path::new(INCUS).exists() => Backend::Incus,
            (backend, _) => backend,
        }
    }
}

/// Where things lie, as the command line says.
pub(crate) fn layout(global: &Global) -> Layout {
    Layout::new(&global.base).with_files(global.config.clone(), global.hypervisor_config.clone())
}

/// That the files are there which the command line names. One that is missing by its default name may be left out; one
/// that was named and is missing is a mistake, and what holds without it is not what was asked for.
pub(crate) fn require_named_files(global: &Global) -> Result<()> {
    let named = [
        ("--config", &global.config, "the one in `etc/` of the base directory is used then"),
        ("--hypervisor-config", &global.hypervisor_config, "the one in `etc/` of the base directory is used then"),
        ("--checksums", &global.checksums, "run files are then checked by the checksums that are known otherwise"),
    ];
    for (option, path, without) in named {
        let Some(path) = path else { continue };
        if fs_err::metadata(path).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound) {
            let message = format!("there is no file `{}`, which `{option}` names", path.display());
            return Err(Error::new(Kind::Configuration, message)
                .hint(format!("correct the path, or leave out `{option}`: {without}")));
        }
    }
    Ok(())
}

/// Both files, with the host's own meaning of `host`, `all` and UUIDs of instances.
pub(crate) fn configuration_on(layout: &Layout, host: &NvidiaHost, cancel: &Cancel) -> Result<Configuration> {
    on_host(host, cancel, |host| Configuration::load_on(layout, host))
}

/// The same for one container, whose start must not wait for what `nvidia-smi` says of another's instances.
pub(crate) fn configuration_for(
    id: ContainerId,
    layout: &Layout,
    host: &NvidiaHost,
    cancel: &Cancel,
) -> Result<Configuration> {
    on_host(host, cancel, |host| Configuration::load_on(layout, OnHost { only: Some(id), ..host }))
}

/// Lets `read` read them so.
pub(crate) fn on_host<T>(host: &NvidiaHost, cancel: &Cancel, read: impl FnOnce(OnHost<'_>) -> Result<T>) -> Result<T> {
    let gpus = host.gpus.iter().map(|gpu| gpu.minor).collect();
    let driver = || host.loaded.clone().or_else(|| host.on_disk(cancel));
    let instances = OnceCell::new();
    let instance = |uuid: &str| {
        let known = instances.get_or_init(|| host.named_instances(cancel));
        known.iter().find(|named| named.uuid.eq_ignore_ascii_case(uuid)).cloned()
    };
    read(OnHost { driver: &driver, gpus: &gpus, only: None, instance: &instance })
}

/// Where this node of Proxmox VE has its files, as the command line says.
pub(crate) fn node(global: &Global) -> Node {
    Node {
        root: global.pve_root.clone(),
        lxcpath: global.lxcpath.clone(),
        tools: None,
        patience: Duration::from_secs(global.lock_timeout),
    }
}

/// The wish to be interrupted, which a signal expresses.
pub(crate) fn interruptible() -> Result<Arc<Cancel>> {
    let cancel = Arc::new(Cancel::new()?);
    listen_for_signals(&cancel)?;
    Ok(cancel)
}

/// The first signal asks to stop at the next safe place, the second insists, the third ends the program where it is.
fn listen_for_signals(cancel: &Arc<Cancel>) -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let cancel = Arc::clone(cancel);
    std::thread::spawn(move || {
        for (before, _) in signals.forever().enumerate() {
            match before {
                0 => cancel.request(),
                1 => cancel.insist(),
                _ => std::process::exit(130),
            }
        }
    });
    Ok(())
}
