//! Running a program in a test, with an end to it, and what came of it.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use std::ffi::{OsStr, OsString};

/// How long a program of a test may take, in seconds; nothing here takes longer than a few.
const LIMIT: &str = "180";

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Ran {
    /// Its exit code; 124 after the time limit, 128 + n after signal n.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The command, for messages.
    pub command: String,
}

impl Ran {
    /// Runs a program with these additions to the environment.
    #[expect(clippy::disallowed_methods, reason = "tests ask the system without the library")]
    pub fn of(
        program: impl AsRef<OsStr>,
        arguments: &[impl AsRef<OsStr>],
        environment: &[(&'static str, OsString)],
    ) -> Self {
        let mut command = std::process::Command::new("timeout");
        command
            .args(["--kill-after=5", LIMIT])
            .arg(&program)
            .args(arguments)
            .envs(environment.iter().map(|(key, value)| (key, value)));
        command.stdin(std::process::Stdio::null());
        let output = command.output().unwrap();
        let words = std::iter::once(program.as_ref()).chain(arguments.iter().map(AsRef::as_ref));
        let signal = std::os::unix::process::ExitStatusExt::signal(&output.status);
        Self {
            code: output.status.code().unwrap_or_else(|| 128 + signal.unwrap_or(0)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            command: words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" "),
        }
    }

    /// The same, if the exit code is 0; otherwise the test has failed.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    /// The same, if the exit code is this; otherwise the test has failed.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "`{}`\nstdout: {}\nstderr: {}", self.command, self.stdout, self.stderr);
        self
    }
}
