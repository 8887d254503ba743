//! `status --watch`: looks again and again, until Ctrl-C or until nobody reads any more.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use phoenix_nvidia::error::{Kind, Result};
use phoenix_nvidia::status::ContainerStatus;

use crate::cli::arguments::Status;
use crate::cli::session::Session;
use crate::cli::{Ended, terminal};

// ECMA-48: to the first place; from here to the end of the line; from here to the end of the screen.
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";

/// Shows it every `seconds` seconds. Ctrl-C is the end that is meant, so it is a good one.
pub(super) fn run(session: &mut Session<'_>, options: &Status, seconds: u64) -> Result<Ended> {
    let ended = until_interrupted(session, options, seconds);
    match ended {
        Err(error) if error.kind() == Kind::Interrupted => Ok(Ended::Well),
        ended => ended.map(|()| Ended::Well),
    }
}

fn until_interrupted(session: &mut Session<'_>, options: &Status, seconds: u64) -> Result<()> {
    loop {
        let rows = super::look(session, options)?;
        let summary = summary(&rows, seconds);
        let text = super::shown(session, options, rows)?;
        if !text.is_empty() && !show(&text, &summary)? {
            return Ok(());
        }
        session.cancel.wait(Duration::from_secs(seconds))?;
        // A file that somebody is editing at this moment may be right the next time.
        if let Err(error) = session.read_again() {
            terminal::error(&error);
        }
    }
}

/// Shows one state; says whether there still is a reader.
fn show(text: &str, summary: &str) -> Result<bool> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok().filter(|_| io::stdout().is_terminal());
    let Some(size) = size else { return terminal::data_while_read(text) };
    // A line is cut where the screen ends, and must not be cut within a colour.
    let text = &anstream::adapter::strip_str(text).to_string();
    let (columns, lines) = (usize::from(size.ws_col).max(20), usize::from(size.ws_row).max(4));
    // Not through the stream that takes colours out: these are no colours, and are needed without them, too.
    let mut stdout = io::stdout().lock();
    match stdout.write_all(frame(text, summary, columns, lines).as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}

/// What a screen of this size shows: the head of the table, as many rows as fit, and the summary.
fn frame(text: &str, summary: &str, columns: usize, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    let room = lines.saturating_sub(3);
    let hidden = all.len().saturating_sub(room);
    let mut shown: Vec<String> = all.iter().take(room).map(|line| (*line).to_owned()).collect();
    if hidden > 0 {
        shown.push(format!("… and {hidden} more; name the containers to see"));
    }
    shown.push(summary.to_owned());
    let cut = |line: &String| line.chars().take(columns).collect::<String>() + CLEAR_LINE;
    format!("{HOME}{}{CLEAR_BELOW}", shown.iter().map(cut).collect::<Vec<_>>().join("\n"))
}

fn summary(rows: &[ContainerStatus], seconds: u64) -> String {
    let count = |wanted: Option<bool>| rows.iter().filter(|row| row.in_sync == wanted).count();
    let (well, not) = (count(Some(true)), count(Some(false)));
    format!(
        "{} containers: {well} in sync, {not} not in sync, {} neither; every {seconds} s, Ctrl-C ends",
        rows.len(),
        count(None)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_never_runs_over_the_screen() {
        let text: String = (0..50).map(|row| format!("{row} {}\n", "x".repeat(200))).collect();
        let frame = frame(&text, "summary", 80, 24);
        let visible = frame.replace(HOME, "").replace(CLEAR_LINE, "").replace(CLEAR_BELOW, "");
        assert!(visible.lines().count() <= 24, "{visible}");
        assert!(visible.lines().all(|line| line.chars().count() <= 80), "{visible}");
        assert!(visible.contains("… and 29 more") && visible.ends_with("summary"), "{visible}");
    }

    #[test]
    fn a_frame_that_fits_shows_everything() {
        let frame = frame("HEAD\n901\n", "summary", 80, 24);
        assert_eq!(frame, format!("{HOME}HEAD{CLEAR_LINE}\n901{CLEAR_LINE}\nsummary{CLEAR_LINE}{CLEAR_BELOW}"));
    }
}
