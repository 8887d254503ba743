//! The log file, and what goes to the terminal.

use std::io::Write;

use crate::Failure;

const DEFAULT: &str = "/var/log/nvidia-installer.log";

/// The installer's log; it is truncated at every start, also by questions such as `--sanity`.
pub(crate) struct Journal {
    file: std::fs::File,
}

impl Journal {
    pub(crate) fn start(path: &str, version: &str, arguments: &[String]) -> Result<Self, Failure> {
        let file = std::fs::File::create(path)
            .map_err(|error| Failure(format!("Unable to open the log file '{path}' for writing: {error}")))?;
        let mut journal = Self { file };
        journal.log(&format!("nvidia-installer log file '{path}'"));
        journal.log(&format!("installer version: {version}"));
        journal.log(&format!("PATH: {}", std::env::var("PATH").unwrap_or_default()));
        journal.log("nvidia-installer command line:");
        journal.log("    ./nvidia-installer");
        for argument in arguments {
            journal.log(&format!("    {argument}"));
        }
        Ok(journal)
    }

    /// Adds a line to the default log file after the journal is gone.
    pub(crate) fn append_to_default(line: &str) {
        if let Ok(mut file) = std::fs::File::options().append(true).open(DEFAULT) {
            let _ = writeln!(file, "{line}");
        }
    }

    /// Writes one line to the log; a log that cannot be written ends nothing.
    pub(crate) fn log(&mut self, line: &str) {
        let _ = writeln!(self.file, "{line}");
    }

    /// Warns on standard error and in the log.
    pub(crate) fn warn(&mut self, text: &str) {
        self.log(&format!("WARNING: {text}"));
        eprintln!("\nWARNING: {text}\n");
    }

    /// Tells something on standard output and in the log.
    pub(crate) fn tell(&mut self, text: &str) {
        self.log(text);
        println!("\n{text}\n");
    }
}
