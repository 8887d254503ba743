//! Making sure that a run file is there: remembered, checked or downloaded, by one process at a time.

use std::path::{Path, PathBuf};

use super::check::Check;
use super::download::{Download, Refusal};
use super::origin::{Expected, Origin};
use super::partial::Partial;
use super::record::Record;
use super::sum_list::{self, SumList};
use super::verified::VerifiedRunFile;
use super::{Cache, Request, beside};
use crate::config::Context;
use crate::driver::{Sha256, Variant};
use crate::error::{Error, Kind, Result};
use crate::event::{Listener, NoListener};
use crate::sys::http::Fault;

// A list of sums has some hundred bytes.
const PUBLISHED_LIMIT: usize = 64 << 10;
const CHECKSUMS_LIMIT: u64 = 16 << 20;

impl Cache<'_> {
    /// The run file, checked: as it is remembered, or read again, or downloaded.
    ///
    /// Everybody who wants the same file at the same time waits for one download. A cached file that turns out wrong is
    /// renamed to `….run.wrong` and downloaded again; without network it stays where it is and is not used. So it does
    /// where the operator's sum alone speaks against it.
    ///
    /// # Errors
    /// [`Kind::Network`] with a line per URL when nothing came, [`Kind::Verification`] when what came or lies there is
    /// wrong, [`Kind::Busy`], [`Kind::Interrupted`], or the host refused.
    pub fn ensure(&self, request: &Request) -> Result<VerifiedRunFile> {
        if let Some(file) = self.remembered(request, self.context.listener)? {
            return Ok(self.announced(request, file));
        }
        let _alone = self.alone(&request.version, &request.architecture)?;
        // Whoever held the lock may have got it in the meantime.
        let at_hand = match self.remembered(request, &NoListener)? {
            Some(file) => Some(file),
            None => self.at_hand(request)?,
        };
        if let Some(file) = at_hand {
            return Ok(self.announced(request, file));
        }
        let path = self.path_of(request, request.variant);
        if self.settings.offline {
            return Err(self.absent_offline(request, &path));
        }
        self.download(request, &path)
    }

    fn download(&self, request: &Request, path: &Path) -> Result<VerifiedRunFile> {
        fs_err::create_dir_all(self.context.layout.cache())?;
        let record = Record::read(self.context.layout, &NoListener)?;
        let mut failures = Vec::new();
        let mut kind = Kind::Network;
        for url in &request.urls {
            match self.download_from(request, url, path, &record) {
                Ok(file) => {
                    let name = name_of(file.path());
                    self.context
                        .listener
                        .note(None, format!("`{name}` is from `{url}`, checked with {}", file.origin()));
                    return Ok(self.announced(request, file));
                }
                Err(Refusal::Url(reason)) => failures.push(format!("{url}: {reason}")),
                Err(Refusal::Wrong(reason)) => {
                    kind = Kind::Verification;
                    failures.push(format!("{url}: {reason}"));
                }
                Err(Refusal::All(error)) => return Err(error),
            }
        }
        let known = self.known(request, request.variant, &record, &NoListener)?;
        Err(self.no_download(request, kind, &failures, known.as_ref()))
    }

    /// Gets the file from one URL and checks it before it gets its name.
    fn download_from(
        &self,
        request: &Request,
        url: &str,
        path: &Path,
        record: &Record,
    ) -> Result<VerifiedRunFile, Refusal> {
        let (partial, subject) = (partial_of(path), name_of(path));
        let Self { http, settings, context: Context { listener, cancel, .. }, .. } = self;
        let download = Download { http, settings, listener: *listener, cancel, subject: &subject, path: &partial };
        let mut continued = download.fetch(url)?;
        let known = |variant| self.known(request, variant, record, &NoListener);
        let published = match known(request.variant).map_err(Refusal::All)? {
            None => self.published(url).map_err(Refusal::All)?,
            Some(_) => None,
        };
        // The sum beside a file is that file's, whatever turns out to be inside.
        let expected = |variant| Ok(known(variant)?.or_else(|| published.clone()));
        loop {
            let error = match self.check(request, path, "the download", |check| check.whole(&partial, expected)) {
                Ok(file) if !request.takes(file.variant()) => {
                    Partial::discard(&partial).map_err(Refusal::All)?;
                    let (found, wanted) = (file.variant().description(), request.variant.description());
                    return Err(Refusal::Wrong(format!("it is {found}, but {wanted} is needed")));
                }
                Ok(file) => {
                    let place = self.place_of(&file);
                    return self.accept(file, &partial, &place).map_err(Refusal::All);
                }
                Err(error) if error.kind() == Kind::Verification => error,
                Err(error) => return Err(Refusal::All(error)),
            };
            Partial::discard(&partial).map_err(Refusal::All)?;
            if !continued {
                return Err(Refusal::Wrong(error.message().to_owned()));
            }
            // What was there before may have been the damaged part, as after a power failure.
            self.context.listener.warn(None, format!("{}; downloading it again", error.message()));
            continued = download.fetch(url)?;
        }
    }

    /// Gives a checked file its name and remembers it.
    pub(super) fn accept(&self, file: VerifiedRunFile, from: &Path, path: &Path) -> Result<VerifiedRunFile> {
        Partial::complete(from, path)?;
        let file = file.renamed(path);
        self.remember(&file)?;
        Ok(file)
    }

    pub(super) fn remember(&self, file: &VerifiedRunFile) -> Result<()> {
        let (name, stamped) = (name_of(file.path()), file.stamped()?);
        Record::change(self.context.layout, self.context.listener, self.context.cancel, |record| {
            record.remember(&name, stamped)
        })
    }

    pub(super) fn check<T>(
        &self,
        request: &Request,
        name: &Path,
        called: &str,
        with: impl FnOnce(&Check<'_>) -> T,
    ) -> T {
        with(&Check {
            version: Some(&request.version),
            architecture: Some(&request.architecture),
            name: None,
            called,
            subject: &name_of(name),
            listener: self.context.listener,
            cancel: self.context.cancel,
        })
    }

    /// The sum that a variant of the file has to have, as far as that is known without asking anybody.
    pub(super) fn known(
        &self,
        request: &Request,
        variant: Variant,
        record: &Record,
        listener: &dyn Listener,
    ) -> Result<Option<Expected>> {
        match &request.sha256 {
            Some(given) => Ok(Some(given.into())),
            None => self.expected(&name_of(&self.path_of(request, variant)), record, listener),
        }
    }

    /// The sum of a file according to the operator's list, or to the cache's own record.
    pub(super) fn expected(&self, name: &str, record: &Record, listener: &dyn Listener) -> Result<Option<Expected>> {
        if let Some(sum) = self.listed(name)? {
            let path = self.settings.checksums.clone().unwrap_or_default();
            return Ok(Some(Expected { sum, coming: None, origin: Origin::ChecksumsFile(path) }));
        }
        Ok(record.expected(name, listener))
    }

    pub(super) fn listed(&self, name: &str) -> Result<Option<Sha256>> {
        let Some(path) = &self.settings.checksums else { return Ok(None) };
        let unusable = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Kind::Configuration, format!("the list of sums `{}` cannot be used", path.display()))
                .caused_by(cause)
                .hint("give a file in the format of `sha256sum`, with a line for each run file")
        };
        let mut text = String::new();
        let file = fs_err::File::open(path).map_err(|error| unusable(error.into()))?;
        std::io::Read::read_to_string(&mut std::io::Read::take(file, CHECKSUMS_LIMIT), &mut text)
            .map_err(|error| unusable(error.into()))?;
        let list = SumList::parse(&text);
        if list.mentions_without_sum(name) {
            return Err(unusable(format!("the line of `{name}` is not a SHA-256 sum").into()));
        }
        match list.find(name) {
            Ok(Some(sum)) => Ok(Some(sum)),
            // Whoever names a list wants its word on every file.
            Ok(None) => Err(unusable(format!("it has no sum for `{name}`").into())),
            Err(contradiction) => Err(unusable(contradiction.into())),
        }
    }

    /// The sum that the server publishes beside a file, if it does. Only an interruption is an error.
    pub(super) fn published(&self, url: &str) -> Result<Option<Expected>> {
        let (file, query) = url.split_once('?').map_or((url, None), |(file, query)| (file, Some(query)));
        let beside = match query {
            Some(query) => format!("{file}.sha256sum?{query}"),
            None => format!("{file}.sha256sum"),
        };
        let name = file.rsplit('/').next().unwrap_or_default();
        let answer = match self.http.get(&beside, &[], self.context.cancel) {
            Ok(answer) if answer.status == 200 => answer.text(PUBLISHED_LIMIT),
            Ok(answer) => Err(Fault::Lasting(format!("status {}", answer.status))),
            Err(fault) => Err(fault),
        };
        let reason = match answer {
            Ok(text) => match sum_list::published(&text, name) {
                Ok(Some(sum)) => {
                    return Ok(Some(Expected { sum, coming: None, origin: Origin::Published(beside) }));
                }
                Ok(None) => format!("it holds no sum for `{name}`"),
                Err(contradiction) => contradiction.to_string(),
            },
            Err(Fault::Interrupted(error)) => return Err(error),
            Err(fault) => fault.to_string(),
        };
        self.context.listener.note(
            None,
            format!("there is no published sum at `{beside}` ({reason}); only the sums inside the file are checked"),
        );
        Ok(None)
    }

    fn no_download(&self, request: &Request, kind: Kind, failures: &[String], known: Option<&Expected>) -> Error {
        let unfit = self.unfit_alone(request);
        let message = match (failures.len(), &unfit) {
            (_, Some(unfit)) => format!("{}; it could not be downloaded", unfit.message()),
            (0, _) => {
                format!("driver {} is not in the cache, and no URL is known to download it from", request.version)
            }
            (1, _) => format!("driver {} could not be downloaded", request.version),
            (count, _) => format!("driver {} could not be downloaded from any of {count} URLs", request.version),
        };
        let hint = match known {
            Some(Expected { origin: Origin::Record, .. }) if kind == Kind::Verification => {
                "if NVIDIA has replaced this file, download it yourself, compare its sum with NVIDIA's, and run \
                 `phoenix-nvidia cache replace FILE`"
                    .to_owned()
            }
            _ => unfit.and_then(|unfit| unfit.hint_text().map(str::to_owned)).unwrap_or_else(|| self.import_hint()),
        };
        Error::new(kind, message).output(failures.join("\n")).hint(hint)
    }

    fn absent_offline(&self, request: &Request, path: &Path) -> Error {
        if let Some(error) = self.unfit_alone(request) {
            return error;
        }
        let message = format!("driver {} is not in the cache, and `offline` forbids a download", request.version);
        Error::new(Kind::Network, message)
            .hint(format!("copy the run file to `{}`, or run `phoenix-nvidia cache import FILE`", path.display()))
    }

    pub(super) fn import_hint(&self) -> String {
        "download it on another machine and run `phoenix-nvidia cache import FILE`".to_owned()
    }
}

/// Where a run file lies while it is downloaded.
pub(super) fn partial_of(path: &Path) -> PathBuf {
    beside(path, ".partial")
}

/// The name that the record knows a file by.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}
