//! Writing to people: standard output that may be closed early, errors as text, questions.

use std::io::{self, BufRead, Write};

use anstyle::{AnsiColor, Style};
use clap::error::{ContextKind, ContextValue};
use phoenix_nvidia::error::{Error, Kind, Result};

use super::Ended;
use super::journal::{self, Priority};

const ERROR: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// Writes data to standard output; a reader that went away, such as `head`, is a good end.
pub(crate) fn data(text: &str) -> Result<()> {
    data_while_read(text).map(|_| ())
}

/// As [`data`], and says whether there still is a reader.
pub(crate) fn data_while_read(text: &str) -> Result<bool> {
    let mut stdout = anstream::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        result => Ok(result.map(|()| true)?),
    }
}

/// Writes data as JSON.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<()> {
    data(&as_json(value)?)
}

/// Data as JSON, with a line break at its end.
pub(crate) fn as_json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| Error::new(Kind::Bug, "a result could not be written as JSON").caused_by(error))?;
    Ok(text + "\n")
}

/// Prints something on standard error; a failure of that is ignored.
pub(crate) fn tell(text: &str) {
    tell_as(Priority::Info, text);
}

/// The same; the journal gets the priority, where it is what reads standard error.
pub(crate) fn tell_as(priority: Priority, text: &str) {
    let text = if journal::reads_standard_error() { journal::with_priority(priority, text) } else { text.to_owned() };
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// Tells a failure, and writes it to the log.
pub(crate) fn error(error: &Error) {
    tell_as(Priority::Error, &styled(error));
    tracing::error!("{}", one_line(error));
}

/// A text without control characters: what it quotes may come from a container, and a terminal obeys them.
pub(crate) fn printable(text: &str) -> String {
    let shown = |character: char| match character {
        '\n' | '\t' => character.to_string(),
        character if character.is_control() => character.escape_default().to_string(),
        character => character.to_string(),
    };
    text.chars().map(shown).collect()
}

/// As [`printable`], and in one line.
pub(crate) fn one_printable_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

/// A failure as it is shown: message, causes, the command's last lines, one hint.
fn styled(error: &Error) -> String {
    let mut text = format!("{ERROR}error{ERROR:#}: {}", printable(error.message()));
    for cause in error.causes() {
        text.push_str(&format!("\n  caused by: {}", printable(&cause)));
    }
    for line in error.output_text().unwrap_or_default().lines() {
        text.push_str(&format!("\n  | {}", printable(line)));
    }
    if let Some(hint) = error.hint_text() {
        text.push_str(&format!("\n\n{HINT}hint{HINT:#}: {}", printable(hint)));
    }
    text
}

fn one_line(error: &Error) -> String {
    let parts: Vec<String> = std::iter::once(error.message().to_owned()).chain(error.causes()).collect();
    one_printable_line(&parts.join(": "))
}

/// Tells what is wrong with the command line, or the help that was asked for.
pub(crate) fn usage(mut error: clap::Error) -> Ended {
    leave_out_tip_to_escape(&mut error);
    let _ = error.print();
    Ended::With(u8::try_from(error.exit_code()).unwrap_or(2))
}

/// `-- --al` would be a CTID, a version or a file, and none begins with a dash: the tip leads to the next error.
fn leave_out_tip_to_escape(error: &mut clap::Error) {
    let Some(ContextValue::StyledStrs(mut tips)) = error.remove(ContextKind::Suggested) else { return };
    tips.retain(|tip| !tip.to_string().contains("as a value, use"));
    if !tips.is_empty() {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(tips));
    }
}

/// Asks a question that only `yes` answers with yes.
pub(crate) fn confirm(question: &str) -> Result<bool> {
    if !io::IsTerminal::is_terminal(&io::stdin()) {
        return Err(Error::new(Kind::Usage, "`destroy` needs a confirmation, and standard input is not a terminal")
            .hint("add `--yes` to destroy without a confirmation"));
    }
    let _ = write!(anstream::stderr().lock(), "{question} Type `yes` to go on: ");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}

/// Columns without borders, so that `awk` and people can read them.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_content_arrangement(comfy_table::ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.iter().map(|cell| one_printable_line(cell)));
    }
    let trimmed = |line: &str| line.strip_prefix(' ').unwrap_or(line).trim_end().to_owned() + "\n";
    table.to_string().lines().map(trimmed).collect()
}
