//! Making sure that a run file is there: remembered, checked or downloaded, by one process at a time.

use std::path::{Path, PathBuf};

use super::download::{Download, Refusal};
use super::origin::{Expected, Origin};
use super::partial::Partial;
use super::record::{Record, Stamp, Stamped};
use super::sum_list::{self, SumList};
use super::verified::{Check, VerifiedRunFile, quoted};
use super::{Cache, Presence, Request, beside};
use crate::driver::Sha256;
use crate::error::{Error, Kind, Result};
use crate::event::{Deaf, Listener};
use crate::sys::http::Fault;
use crate::sys::lock::FileLock;

// A list of sums has some hundred bytes.
const PUBLISHED_LIMIT: usize = 64 << 10;
const CHECKSUMS_LIMIT: u64 = 16 << 20;

impl Cache<'_> {
    /// What is there of a run file. Reads no file to its end and writes nothing.
    ///
    /// # Errors
    /// [`Kind::Configuration`] when the operator's list of sums cannot be used; the file system refused.
    pub fn look(&self, request: &Request) -> Result<Presence> {
        Ok(self.inspect(request, self.listener)?.0)
    }

    /// What is there of a run file, and what is remembered of it if that holds. `told` hears of damaged records.
    fn inspect(&self, request: &Request, told: &dyn Listener) -> Result<(Presence, Option<Stamped>)> {
        let path = self.path_of(request);
        let metadata = match fs_err::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes = Partial::length_of(&partial_of(&path));
                return Ok((if bytes > 0 { Presence::Partial { bytes } } else { Presence::Absent }, None));
            }
            Err(error) => return Err(error.into()),
        };
        let (record, expected) = self.known(request, told)?;
        let bytes = metadata.len();
        let holds = |known: &&Stamped| {
            known.stamp == Stamp::of(&metadata) && expected.as_ref().is_none_or(|expected| expected.sum == known.sha256)
        };
        Ok(match record.stamped(&name_of(&path)).filter(holds) {
            Some(known) => (Presence::Trusted { path, bytes, sha256: known.sha256 }, Some(known.clone())),
            None => (Presence::Unchecked { path, bytes }, None),
        })
    }

    /// The run file, checked: as it is remembered, or read again, or downloaded.
    ///
    /// Everybody who wants the same file at the same time waits for one download. A cached file that turns out wrong is
    /// renamed to `….run.wrong` and downloaded again; without network it stays where it is and is not used.
    ///
    /// # Errors
    /// [`Kind::Network`] with a line per URL when nothing came, [`Kind::Verification`] when what came or lies there is
    /// wrong, [`Kind::Busy`], [`Kind::Interrupted`], or the host refused.
    pub fn ensure(&self, request: &Request) -> Result<VerifiedRunFile> {
        if let Some(file) = self.remembered(request, self.listener)? {
            return Ok(file);
        }
        let lock = self.layout.run_file_lock(&request.version, &request.architecture);
        let subject = format!("run file {}", request.version);
        let _alone = FileLock::acquire(&lock, &subject, self.settings.lock_patience, self.listener, self.cancel)?;
        // Whoever held the lock may have got it in the meantime.
        if let Some(file) = self.remembered(request, &Deaf)? {
            return Ok(file);
        }
        let path = self.path_of(request);
        if path.try_exists()?
            && let Some(file) = self.cached(request, &path)?
        {
            return Ok(file);
        }
        if self.settings.offline {
            return Err(self.absent_offline(request, &path));
        }
        self.download(request, &path)
    }

    /// The cached file if it looks as it did when it was checked, and that check is as good as one made now.
    pub(super) fn remembered(&self, request: &Request, told: &dyn Listener) -> Result<Option<VerifiedRunFile>> {
        let (_, Some(known)) = self.inspect(request, told)? else { return Ok(None) };
        let path = self.path_of(request);
        match self.check(request, &path, &quoted(&path), |check| check.remembered(&path, &known)) {
            // What is wrong with it is found again, and dealt with, where the lock is held.
            Err(error) if error.kind() == Kind::Verification => Ok(None),
            other => other,
        }
    }

    /// Checks a cached file that is not remembered. One that is wrong is put aside, and none is returned.
    fn cached(&self, request: &Request, path: &Path) -> Result<Option<VerifiedRunFile>> {
        let (_, known) = self.known(request, &Deaf)?;
        let expected = match known {
            None if !self.settings.offline => request.urls.first().and_then(|url| self.published(url).transpose()),
            known => known.map(Ok),
        };
        let error = match self.whole(request, path, path, &quoted(path), expected.transpose()?.as_ref()) {
            Ok(file) => {
                self.remember(&file)?;
                return Ok(Some(file));
            }
            Err(error) => error,
        };
        if error.kind() != Kind::Verification {
            return Err(error);
        }
        if self.settings.offline {
            return Err(error.hint(self.import_hint()));
        }
        let aside = beside(path, ".wrong");
        fs_err::rename(path, &aside)?;
        self.listener.warn(None, format!("{}; it is now `{}`", error.message(), aside.display()));
        Ok(None)
    }

    fn download(&self, request: &Request, path: &Path) -> Result<VerifiedRunFile> {
        fs_err::create_dir_all(self.layout.cache())?;
        let (_, known) = self.known(request, &Deaf)?;
        let mut failures = Vec::new();
        let mut kind = Kind::Network;
        for url in &request.urls {
            match self.download_from(request, url, path, known.as_ref()) {
                Ok(file) => {
                    self.listener
                        .note(None, format!("`{}` is from `{url}`, checked with {}", name_of(path), file.origin()));
                    return Ok(file);
                }
                Err(Refusal::Url(reason)) => failures.push(format!("{url}: {reason}")),
                Err(Refusal::Wrong(reason)) => {
                    kind = Kind::Verification;
                    failures.push(format!("{url}: {reason}"));
                }
                Err(Refusal::All(error)) => return Err(error),
            }
        }
        Err(self.no_download(request, kind, &failures, known.as_ref()))
    }

    /// Gets the file from one URL and checks it before it gets its name.
    fn download_from(
        &self,
        request: &Request,
        url: &str,
        path: &Path,
        known: Option<&Expected>,
    ) -> Result<VerifiedRunFile, Refusal> {
        let (partial, subject) = (partial_of(path), name_of(path));
        let Self { http, settings, listener, cancel, .. } = self;
        let download = Download { http, settings, listener: *listener, cancel, subject: &subject, path: &partial };
        let mut continued = download.fetch(url)?;
        let published = match known {
            None => self.published(url).map_err(Refusal::All)?,
            Some(_) => None,
        };
        loop {
            let sum = known.or(published.as_ref());
            let error = match self.whole(request, &partial, path, "the download", sum) {
                Ok(file) => return self.accept(file, &partial, path).map_err(Refusal::All),
                Err(error) if error.kind() == Kind::Verification => error,
                Err(error) => return Err(Refusal::All(error)),
            };
            Partial::discard(&partial).map_err(Refusal::All)?;
            if !continued {
                return Err(Refusal::Wrong(error.message().to_owned()));
            }
            // What was there before may have been the damaged part, as after a power failure.
            self.listener.warn(None, format!("{}; downloading it anew", error.message()));
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
        Record::change(self.layout, self.listener, self.cancel, |record| record.remember(&name, stamped))
    }

    /// Checks all of the file at `path`, which is to be, or is, the one called `name`.
    fn whole(
        &self,
        request: &Request,
        path: &Path,
        name: &Path,
        called: &str,
        expected: Option<&Expected>,
    ) -> Result<VerifiedRunFile> {
        self.check(request, name, called, |check| check.whole(path, expected))
    }

    fn check<T>(&self, request: &Request, name: &Path, called: &str, with: impl FnOnce(&Check<'_>) -> T) -> T {
        with(&Check {
            version: Some(&request.version),
            architecture: Some(&request.architecture),
            name: None,
            called,
            subject: &name_of(name),
            listener: self.listener,
            cancel: self.cancel,
        })
    }

    /// What the cache remembers, and the sum that the file has to have as far as that is known without asking anybody.
    fn known(&self, request: &Request, told: &dyn Listener) -> Result<(Record, Option<Expected>)> {
        let record = Record::read(self.layout, told)?;
        let name = name_of(&self.path_of(request));
        let expected = match &request.sha256 {
            Some(given) => Some(given.into()),
            None => self.expected(&name, &record, told)?,
        };
        Ok((record, expected))
    }

    /// The sum of a file according to the operator's list, or to the cache's own record.
    pub(super) fn expected(&self, name: &str, record: &Record, told: &dyn Listener) -> Result<Option<Expected>> {
        if let Some(sum) = self.listed(name)? {
            let path = self.settings.checksums.clone().unwrap_or_default();
            return Ok(Some(Expected { sum, origin: Origin::ChecksumsFile(path) }));
        }
        Ok(record.sum(name, told).map(|sum| Expected { sum, origin: Origin::Record }))
    }

    fn listed(&self, name: &str) -> Result<Option<Sha256>> {
        let Some(path) = &self.settings.checksums else { return Ok(None) };
        let unusable = |cause: Box<dyn std::error::Error + Send + Sync>| {
            Error::new(Kind::Configuration, format!("the list of sums `{}` cannot be used", path.display()))
                .caused_by(cause)
                .hint("give a file as `sha256sum` writes it, with a line for every run file that is used")
        };
        let mut text = String::new();
        let file = fs_err::File::open(path).map_err(|error| unusable(error.into()))?;
        std::io::Read::read_to_string(&mut std::io::Read::take(file, CHECKSUMS_LIMIT), &mut text)
            .map_err(|error| unusable(error.into()))?;
        let list = SumList::parse(&text);
        if list.mentions_without_sum(name) {
            return Err(unusable(format!("the line of `{name}` is no SHA-256 sum").into()));
        }
        match list.find(name) {
            Ok(Some(sum)) => Ok(Some(sum)),
            // Whoever names a list wants its word on every file.
            Ok(None) => Err(unusable(format!("it has no sum for `{name}`").into())),
            Err(contradiction) => Err(unusable(contradiction.into())),
        }
    }

    /// The sum that the server publishes beside a file, if it does. Only an interruption is an error.
    fn published(&self, url: &str) -> Result<Option<Expected>> {
        let (file, query) = url.split_once('?').map_or((url, None), |(file, query)| (file, Some(query)));
        let beside = match query {
            Some(query) => format!("{file}.sha256sum?{query}"),
            None => format!("{file}.sha256sum"),
        };
        let name = file.rsplit('/').next().unwrap_or_default();
        let answer = match self.http.get(&beside, &[], self.cancel) {
            Ok(answer) if answer.status == 200 => answer.text(PUBLISHED_LIMIT),
            Ok(answer) => Err(Fault::Lasting(format!("status {}", answer.status))),
            Err(fault) => Err(fault),
        };
        let reason = match answer {
            Ok(text) => match sum_list::published(&text, name) {
                Ok(Some(sum)) => return Ok(Some(Expected { sum, origin: Origin::Published(beside) })),
                Ok(None) => format!("it holds no sum for `{name}`"),
                Err(contradiction) => contradiction.to_string(),
            },
            Err(Fault::Interrupted(error)) => return Err(error),
            Err(fault) => fault.to_string(),
        };
        self.listener
            .note(None, format!("there is no published sum at `{beside}` ({reason}); the file's own sums decide"));
        Ok(None)
    }

    fn no_download(&self, request: &Request, kind: Kind, failures: &[String], known: Option<&Expected>) -> Error {
        let message = match failures.len() {
            0 => format!("driver {} is not in the cache, and there is no URL to download it from", request.version),
            1 => format!("driver {} could not be downloaded", request.version),
            count => format!("driver {} could not be downloaded from any of {count} URLs", request.version),
        };
        let hint = match known {
            Some(Expected { origin: Origin::Record, .. }) if kind == Kind::Verification => {
                let sums = self.layout.cache_sums();
                format!("if NVIDIA has replaced this file since, remove its line from `{}`", sums.display())
            }
            _ => self.import_hint(),
        };
        Error::new(kind, message).output(failures.join("\n")).hint(hint)
    }

    fn absent_offline(&self, request: &Request, path: &Path) -> Error {
        let message = format!("driver {} is not in the cache, and nothing may be downloaded: offline", request.version);
        Error::new(Kind::Network, message)
            .hint(format!("put the run file at `{}`, or run `phoenix-nvidia cache import FILE`", path.display()))
    }

    fn import_hint(&self) -> String {
        "download it on another machine and run `phoenix-nvidia cache import FILE`".to_owned()
    }

    pub(super) fn path_of(&self, request: &Request) -> PathBuf {
        self.layout.run_file(&request.version, &request.architecture)
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
