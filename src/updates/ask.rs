//! Asking for NVIDIA's two lists of releases: below the mirrors, then at NVIDIA's own places.

use std::time::Duration;

use crate::config::{Context, HypervisorSettings, ReleaseList};
use crate::driver::DriverVersion;
use crate::driver::releases::{self, NotAList, Releases};
use crate::error::{Error, Kind, Result};
use crate::sys::http::{Fault, Http, Limits};

// The lists are small: what takes longer does not come.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// What the lists say; at least one of them came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answers {
    /// The version that `latest.txt` names.
    pub latest: Option<DriverVersion>,
    /// What `releases.json` lists.
    pub releases: Option<Releases>,
    /// Why a list did not come, a line for each URL.
    pub failures: Vec<String>,
}

/// Asks for both, for machines that `uname -m` names so. The listener hears of a place that gave no list.
///
/// # Errors
/// [`Kind::Network`] when `offline` forbids it or none of the lists came, or [`Kind::Interrupted`].
pub fn ask(context: Context<'_>, settings: &HypervisorSettings, architecture: &str) -> Result<Answers> {
    if settings.offline {
        return Err(Error::new(Kind::Network, "NVIDIA was not asked for newer drivers, because `offline` forbids it")
            .hint("set `nvidia_driver.offline` to false in the hypervisor's file, or ask on another host"));
    }
    let limits = Limits {
        allow_http: settings.allow_http.clone(),
        connect_timeout: CONNECT_TIMEOUT,
        stall_timeout: STALL_TIMEOUT,
    };
    let mut asking = Asking { http: Http::new(limits), context, settings, architecture, failures: Vec::new() };
    let latest = asking.first(ReleaseList::Latest, releases::LATEST_LIMIT, releases::latest)?;
    let releases = asking.first(ReleaseList::Branches, Releases::LIMIT, Releases::parse)?;
    let answers = Answers { latest, releases, failures: asking.failures };
    if answers.latest.is_none() && answers.releases.is_none() {
        return Err(answers.without("NVIDIA's lists of releases could not be read"));
    }
    for failure in &answers.failures {
        context.listener.warn(None, failure.as_str());
    }
    let entries = match answers.releases.as_ref().map(|list| list.not_understood) {
        None | Some(0) => return Ok(answers),
        Some(1) => "1 entry names no version of its branch, and was left out".to_owned(),
        Some(count) => format!("{count} entries name no version of their branch, and were left out"),
    };
    context.listener.warn(None, format!("`{}`: {entries}", ReleaseList::Branches.name()));
    Ok(answers)
}

impl Answers {
    /// That the loaded module's branch is in none of the lists that came, while the one of all branches did not come.
    pub fn undecided(&self, loaded: &DriverVersion) -> Error {
        let branch = loaded.branch();
        self.without(&format!("whether there is a newer driver of branch {branch} could not be found out"))
    }

    fn without(&self, message: &str) -> Error {
        Error::new(Kind::Network, message)
            .output(self.failures.join("\n"))
            .hint("check this host's network, and `nvidia_driver.mirrors`; a mirror has both lists beside the versions' directories")
    }
}

struct Asking<'a> {
    http: Http,
    context: Context<'a>,
    settings: &'a HypervisorSettings,
    architecture: &'a str,
    failures: Vec<String>,
}

impl Asking<'_> {
    /// The list from the first place that has it. That a mirror has none is nothing to report when another place has it.
    fn first<T>(
        &mut self,
        list: ReleaseList,
        limit: usize,
        read: impl Fn(&str, &str) -> Result<T, NotAList>,
    ) -> Result<Option<T>> {
        let mut missing = Vec::new();
        for url in list.urls(self.settings, self.architecture) {
            match self.answer(&url, limit) {
                Ok(None) => missing.push(format!("`{url}`: the server does not have it")),
                Ok(Some(text)) => match read(&text, self.architecture) {
                    Ok(it) => return Ok(Some(it)),
                    Err(reason) => self.failures.push(format!("`{url}`: {reason}")),
                },
                Err(Fault::Interrupted(error)) => return Err(error),
                Err(fault) => self.failures.push(format!("`{url}`: {fault}")),
            }
        }
        self.failures.extend(missing);
        Ok(None)
    }

    /// The text at a URL, if the server has one.
    fn answer(&self, url: &str, limit: usize) -> Result<Option<String>, Fault> {
        let answer = self.http.get(url, &[], self.context.cancel)?;
        match answer.status {
            200 => answer.text(limit).map(Some),
            404 | 410 => Ok(None),
            status => Err(Fault::Lasting(format!("the server answered with status {status}"))),
        }
    }
}
