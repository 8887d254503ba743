//! `verify`: does a container report the driver that is configured? All four versions are shown.

use phoenix_nvidia::error::Result;
use phoenix_nvidia::install::verify::{Verdict, Verification};

use super::arguments::Verify;
use super::selection::{self, Suits};
use super::session::Session;
use super::{Ended, report, terminal};

pub(crate) fn run(session: &Session<'_>, options: &Verify) -> Result<Ended> {
    let containers = selection::resolve(session, &options.selection, Suits::Verification)?;
    let reports = session.with_fleet_as_root(|fleet| Ok(fleet.verify(&containers, options.require_live)))?;
    if session.wants_json() {
        return report::show(session, &reports);
    }
    let verified = reports.iter().filter_map(|report| Some((report, report.verification.as_ref()?)));
    let rows = verified.map(|(report, verification)| {
        let mut row = vec![report.id.to_string(), report.name.clone()];
        row.extend(versions(verification));
        row.push(verdict(verification));
        row
    });
    let header = ["CTID", "NAME", "WANTED", "HOST", "INSTALLED", "REPORTED", "VERDICT"];
    let rows: Vec<_> = rows.collect();
    if !rows.is_empty() {
        terminal::data(&terminal::table(&header, rows))?;
    }
    report::failures(&reports)
}

fn versions(verification: &Verification) -> [String; 4] {
    let text = |version: &Option<_>| report::or_dash(version.as_ref());
    [
        verification.wanted.to_string(),
        text(&verification.host),
        text(&verification.installed),
        report::reported(&verification.reported),
    ]
}

fn verdict(verification: &Verification) -> String {
    match &verification.verdict {
        Verdict::Verified => "verified".to_owned(),
        Verdict::NotVerifiedLive { reason } => format!("installed, not verified live: {reason}"),
        Verdict::GpuUnavailable { .. } => "GPU unavailable".to_owned(),
        Verdict::Wrong { .. } => "wrong".to_owned(),
    }
}
