//! Telling what happens while it happens: bars, plain lines, JSON lines, or nothing; and always to the log.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use phoenix_nvidia::container_id::ContainerId;
use phoenix_nvidia::event::{Activity, Event, Listener};

use super::arguments::{Global, Progress};
use super::journal::Priority;
use super::terminal;

/// The listener that the command line asks for.
pub(crate) fn listener(global: &Global) -> Box<dyn Listener> {
    let form = match global.progress {
        Progress::Auto if std::io::stderr().is_terminal() => Progress::Bars,
        Progress::Auto => Progress::Lines,
        form => form,
    };
    match form {
        Progress::Json => Box::new(JsonLines),
        Progress::None => Box::new(LogOnly),
        _ if global.quiet => Box::new(Lines { warnings_only: true, tenths: Mutex::default() }),
        Progress::Bars => Box::new(Bars { area: MultiProgress::new(), bars: Mutex::default() }),
        _ => Box::new(Lines { warnings_only: false, tenths: Mutex::default() }),
    }
}

/// Nothing but the log.
struct LogOnly;

impl Listener for LogOnly {
    fn hear(&self, event: &Event) {
        log(event);
    }
}

/// One JSON object per line, for other programs.
struct JsonLines;

impl Listener for JsonLines {
    fn hear(&self, event: &Event) {
        log(event);
        if let Ok(line) = serde_json::to_string(event) {
            terminal::tell(&line);
        }
    }
}

/// One line for everything that begins, and for every tenth of what takes long.
struct Lines {
    warnings_only: bool,
    tenths: Mutex<BTreeMap<(Option<ContainerId>, String), u64>>,
}

impl Listener for Lines {
    fn hear(&self, event: &Event) {
        log(event);
        let line = match event {
            Event::Warning { .. } => line(event),
            _ if self.warnings_only => None,
            Event::Progress { container, activity, subject, done, total: Some(total), .. }
                if *activity != Activity::Install =>
            {
                self.tenth(*container, *activity, subject, *done, *total)
            }
            _ => line(event),
        };
        if let Some(line) = line {
            let priority = if matches!(event, Event::Warning { .. }) { Priority::Warning } else { Priority::Info };
            terminal::tell_as(priority, &line);
        }
    }
}

impl Lines {
    fn tenth(
        &self,
        container: Option<ContainerId>,
        activity: Activity,
        subject: &str,
        done: u64,
        total: u64,
    ) -> Option<String> {
        // Small files need no percentages.
        if total < 64 << 20 {
            return None;
        }
        let tenth = done * 10 / total.max(1);
        let key = (container, format!("{} {subject}", word(activity)));
        let mut tenths = self.tenths.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let before = tenths.insert(key, tenth);
        (tenth > 0 && before != Some(tenth)).then(|| {
            format!("{}{} {subject}: {} % of {} MB", prefix(container), word(activity), tenth * 10, total / 1_000_000)
        })
    }
}

/// A progress bar for each long step, and lines above it.
struct Bars {
    area: MultiProgress,
    bars: Mutex<BTreeMap<(Option<ContainerId>, &'static str), ProgressBar>>,
}

impl Listener for Bars {
    fn hear(&self, event: &Event) {
        log(event);
        if let Event::Progress { container, activity, subject, done, total, finished } = event {
            self.advance((*container, word(*activity)), subject, *done, *total, *finished);
        } else if let Some(line) = line(event) {
            self.area.suspend(|| terminal::tell(&line));
        }
    }
}

impl Bars {
    fn advance(
        &self,
        key: (Option<ContainerId>, &'static str),
        subject: &str,
        done: u64,
        total: Option<u64>,
        finished: bool,
    ) {
        let mut bars = self.bars.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if finished {
            if let Some(bar) = bars.remove(&key) {
                bar.finish_and_clear();
            }
            return;
        }
        let bar = bars.entry(key).or_insert_with(|| {
            let bar = self.area.add(new_bar(total));
            bar.set_message(format!("{}{} {subject}", prefix(key.0), key.1));
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        bar.set_position(done);
    }
}

fn new_bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (ProgressBar::new(total), "{msg} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}"),
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {pos} files {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn word(activity: Activity) -> &'static str {
    match activity {
        Activity::Download => "download",
        Activity::Verify => "verify",
        Activity::Extract => "extract",
        Activity::Copy => "copy",
        Activity::Install => "install",
    }
}

fn prefix(container: Option<ContainerId>) -> String {
    container.map(|id| format!("{id}: ")).unwrap_or_default()
}

fn line(event: &Event) -> Option<String> {
    let line = match event {
        Event::StepStarted { container, step } => Some(format!("{}{step}", prefix(*container))),
        Event::Note { container, text } => Some(format!("{}note: {text}", prefix(*container))),
        Event::Warning { container, text } => Some(format!("{}warning: {text}", prefix(*container))),
        Event::Waiting { reason } => Some(format!("waiting: {reason}")),
        Event::StepFinished { .. } | Event::Progress { .. } => None,
    };
    line.map(|line| terminal::one_printable_line(&line))
}

fn log(event: &Event) {
    match event {
        Event::Warning { container, text } => {
            tracing::warn!("{}{}", prefix(*container), terminal::one_printable_line(text));
        }
        Event::StepFinished { container, step, milliseconds } => {
            tracing::info!("{}{step}: done in {:.1} s", prefix(*container), *milliseconds as f64 / 1000.0);
        }
        Event::Progress { .. } => {}
        event => {
            if let Some(line) = line(event) {
                tracing::info!("{line}");
            }
        }
    }
}
