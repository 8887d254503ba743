//! The log file, in the line format of the operators' scripts: `%Y-%m-%d %H:%M:%S [LEVEL] phoenix-nvidia: message`.

use std::fmt;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use phoenix_nvidia::error::Result;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

/// Sends what is logged to the file, if there is to be one, and with `verbose` every command to standard error, too.
///
/// A log file that cannot be written is said once and does not stop the work: a reading verb runs as any user.
pub(crate) fn open(path: Option<&Path>, verbose: bool) -> Result<()> {
    let file = path.map(|path| fs_err::OpenOptions::new().append(true).create(true).open(path)).transpose();
    let to_file = file.as_ref().ok().and_then(Option::as_ref).and_then(|file| file.file().try_clone().ok());
    let to_file = to_file.map(|file| layer(file, verbose));
    let to_terminal = verbose.then(|| {
        tracing_subscriber::fmt::layer()
            .event_format(Plain)
            .with_writer(std::io::stderr)
            .with_filter(LevelFilter::DEBUG)
    });
    let subscriber = tracing_subscriber::registry().with(to_file).with(to_terminal);
    // Only tests start the program twice in one process.
    let _ = tracing::subscriber::set_global_default(subscriber);
    if let Err(error) = file {
        tracing::debug!("the log cannot be written: {error}");
    }
    Ok(())
}

fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(file: File, verbose: bool) -> impl Layer<S> {
    let level = if verbose { LevelFilter::DEBUG } else { LevelFilter::INFO };
    tracing_subscriber::fmt::layer()
        .event_format(Origin)
        .with_ansi(false)
        .with_writer(Mutex::new(file))
        .with_filter(level)
}

/// The origin's format.
struct Origin;

impl<S: Subscriber + for<'span> LookupSpan<'span>, N: for<'writer> FormatFields<'writer> + 'static> FormatEvent<S, N>
    for Origin
{
    fn format_event(&self, session: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let now = jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S").to_string();
        write!(writer, "{now} [{}] phoenix-nvidia: ", level(*event.metadata().level()))?;
        session.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// The message alone, for `--verbose`.
struct Plain;

impl<S: Subscriber + for<'span> LookupSpan<'span>, N: for<'writer> FormatFields<'writer> + 'static> FormatEvent<S, N>
    for Plain
{
    fn format_event(&self, session: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if *event.metadata().level() != Level::DEBUG {
            return Ok(());
        }
        session.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARN",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}
