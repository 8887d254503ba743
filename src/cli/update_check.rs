//! `update-check`: which newer driver NVIDIA publishes for this host. Downloads no driver; remembers what it found.

use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::error::{Error, Kind, Result};
use phoenix_nvidia::updates::{self, Answers, Driven, KnownGpus, NewestOf, Offer, Offers, Remembered, Verdict};
use serde_json::{Value, json};

use super::session::Session;
use super::{Ended, report, terminal};

// The documented exit code for "differences exist".
const DIFFERENCES: u8 = 4;

pub(crate) fn run(session: &Session<'_>) -> Result<Ended> {
    let host = session.host();
    let no_module = || {
        Error::new(Kind::Host, host.no_module())
            .hint("load it with `modprobe nvidia`: what is newer is decided by its version")
    };
    let loaded = host.loaded.as_ref().ok_or_else(no_module)?;
    let settings = session.configuration.hypervisor();
    let answers = updates::ask(session.context(), settings, std::env::consts::ARCH)?;
    let asked = jiff::Timestamp::now();
    remember(session, &answers, asked);
    let gpus = KnownGpus::read(host, loaded, &session.store(), &*session.listener);
    let offers = Offers::of(loaded, &answers, &gpus);
    if session.wants_json() {
        terminal::json(&as_json(&offers, asked))?;
    } else {
        terminal::data(&as_table(&offers))?;
    }
    note_what_is_not_known(session, &offers);
    match offers.update_available() {
        Some(true) => Ok(Ended::With(DIFFERENCES)),
        None if answers.releases.is_none() => Err(answers.undecided(loaded)),
        _ => Ok(Ended::Well),
    }
}

/// The line for those who look at containers: that the last `update-check` found a newer driver of the loaded branch.
pub(crate) fn tell_remembered(session: &Session<'_>) {
    let Some((loaded, newest, asked)) = remembered(session).filter(|(loaded, newest, _)| newest > loaded) else {
        return;
    };
    let (branch, day) = (loaded.branch(), asked.strftime("%Y-%m-%d"));
    let text = format!(
        "NVIDIA has published driver {newest} of branch {branch}, and {loaded} is loaded (`update-check` of {day})"
    );
    session.listener.note(None, text);
}

/// The version of the loaded module, the newest of its branch as far as that is remembered, and since when.
pub(crate) fn remembered(session: &Session<'_>) -> Option<(DriverVersion, DriverVersion, jiff::Timestamp)> {
    let loaded = session.host().loaded.clone()?;
    let remembered = Remembered::read(&session.layout)?;
    let newest = remembered.newest_of_branch(&loaded)?.clone();
    Some((loaded, newest, remembered.asked))
}

/// A list of one branch alone would take away what is remembered of all others.
fn remember(session: &Session<'_>, answers: &Answers, asked: jiff::Timestamp) {
    if answers.releases.is_none() {
        return;
    }
    if let Err(error) = Remembered::of(answers, asked).write(&session.layout) {
        let causes = [vec![error.message().to_owned()], error.causes()].concat().join(": ");
        session.listener.warn(None, format!("what was found is not remembered for `status`: {causes}"));
    }
}

fn note_what_is_not_known(session: &Session<'_>, offers: &Offers) {
    let branch = offers.loaded.branch();
    if offers.newest_of_branch().is_none() {
        session.listener.note(None, format!("NVIDIA's lists name no release of branch {branch}"));
    }
    let is_open = |offer: &&Offer| offer.verdict == Verdict::Newer && offer.driven == Driven::NotKnown;
    let mut open: Vec<&str> =
        offers.offers.iter().filter(is_open).map(|offer| offer.release.version.as_str()).collect();
    open.dedup();
    if !open.is_empty() {
        let versions = open.join(" ");
        let text = format!(
            "whether this host's GPUs are supported by another branch is known once a driver of it is extracted: \
             `phoenix-nvidia store extract {versions}`"
        );
        session.listener.note(None, text);
    }
}

fn as_table(offers: &Offers) -> String {
    let row = |offer: &Offer| {
        let release = &offer.release;
        vec![
            match offer.newest_of {
                NewestOf::Branch => format!("branch {}", offers.loaded.branch()),
                NewestOf::Production => "production".to_owned(),
                NewestOf::All => "all".to_owned(),
            },
            release.version.to_string(),
            report::or_dash(release.branch_type.map(|it| it.words()).as_ref()),
            report::or_dash(release.date.as_ref()),
            gpus(&offer.driven).unwrap_or("-").replace('_', " "),
            verdict(offer),
        ]
    };
    let header = ["NEWEST OF", "VERSION", "TYPE", "RELEASED", "GPUS", "VERDICT"];
    let table = terminal::table(&header, offers.offers.iter().map(row));
    format!("kernel module: {} loaded\n\n{table}", offers.loaded)
}

fn gpus(driven: &Driven) -> Option<&'static str> {
    match driven {
        Driven::All => Some("supported"),
        Driven::Dropped(_) => Some("not_supported"),
        Driven::NotKnown => Some("not_known"),
        Driven::NoGpus => None,
    }
}

fn verdict(offer: &Offer) -> String {
    match (offer.verdict, reason(offer)) {
        (Verdict::NotRecommended, Some(reason)) => format!("not recommended: {reason}"),
        (Verdict::NotRecommended, None) => "not recommended".to_owned(),
        (Verdict::Newer, _) => "newer".to_owned(),
        (Verdict::Loaded, _) => "loaded".to_owned(),
        (Verdict::Older, _) => "older than the loaded one".to_owned(),
    }
}

fn reason(offer: &Offer) -> Option<String> {
    match &offer.driven {
        Driven::Dropped(gpus) => Some(format!("no longer supports {}", gpus.join("; "))),
        _ => None,
    }
}

fn as_json(offers: &Offers, asked: jiff::Timestamp) -> Value {
    let as_json = |offer: &Offer| {
        json!({
            "newest_of": offer.newest_of,
            "version": offer.release.version,
            "type": offer.release.branch_type,
            "released": offer.release.date,
            "gpus": gpus(&offer.driven),
            "verdict": offer.verdict,
            "reason": reason(offer),
        })
    };
    json!({
        "loaded": offers.loaded,
        "update_available": offers.update_available(),
        "asked": asked.strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        "offers": offers.offers.iter().map(as_json).collect::<Vec<_>>(),
    })
}
