//! Running commands: own process group, deadline, output limit, and nothing left running afterwards.

use std::ffi::{OsStr, OsString};
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::error::{Error, Kind, Result};
use crate::sys::cancel::Cancel;
use crate::sys::space;

// How long a process group may take to end after SIGTERM before it gets SIGKILL.
const GRACE: Duration = Duration::from_secs(2);
// How long a pipe may stay open after the process has ended, when something it started still holds it.
const LINGER: Duration = Duration::from_millis(500);

/// A command that is about to run, with the limits that it runs under.
#[derive(Debug, Clone)]
pub struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    input: Input,
    deadline: Duration,
    output_limit: usize,
}

/// What a command reads on its standard input.
#[derive(Debug, Clone)]
enum Input {
    Nothing,
    Bytes(Vec<u8>),
    File(Arc<std::fs::File>),
}

/// What a command left behind: how it ended and what it printed.
#[derive(Debug, Clone)]
pub struct Output {
    /// The exit code; 128 + n when signal n ended it, as a shell counts.
    pub code: i32,
    /// What it wrote to its standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to its standard error.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Whether the exit code is 0.
    pub fn success(&self) -> bool {
        self.code == 0
    }

    /// Standard output as text; bytes that are not UTF-8 are replaced.
    pub fn stdout_text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// The last lines of standard error, or of standard output when there are none, fit to be shown to a person.
    pub fn last_lines(&self) -> String {
        let shown = if self.stderr.iter().all(u8::is_ascii_whitespace) { &self.stdout } else { &self.stderr };
        last_lines(&String::from_utf8_lossy(shown))
    }
}

/// The last ten lines of a text, without control characters: it may come from a container, and go to a terminal.
pub fn last_lines(text: &str) -> String {
    let clean = |line: &str| -> String {
        line.chars().filter(|character| !character.is_control() || *character == '\t').take(500).collect()
    };
    let lines: Vec<String> = text.lines().map(clean).filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}

impl Command {
    /// A command with no arguments, nothing on its input, one minute and one MiB of output.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            program: program.as_ref().to_owned(),
            arguments: Vec::new(),
            environment: Vec::new(),
            input: Input::Nothing,
            deadline: Duration::from_secs(60),
            output_limit: 1 << 20,
        }
    }

    /// Adds one argument.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Adds several arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    /// Sets one variable of its environment; the others are the program's own.
    #[must_use]
    pub fn env(mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((key.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// What it reads on its standard input, at most what a pipe holds (64 KiB).
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = Input::Bytes(input.into());
        self
    }

    /// The file that it reads on its standard input: one that it need not be able to open by itself.
    #[must_use]
    pub fn input_file(mut self, file: std::fs::File) -> Self {
        self.input = Input::File(Arc::new(file));
        self
    }

    /// After this time the whole process group is ended.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// More output than this many bytes, on either stream, ends the whole process group.
    #[must_use]
    pub fn output_limit(mut self, bytes: usize) -> Self {
        self.output_limit = bytes;
        self
    }

    /// The command as a person could paste it.
    pub fn display(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        words.map(|word| quoted(&word.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    /// Runs it to its end, whatever its exit code.
    ///
    /// stdin is what [`Command::input`] gave, or empty; both output streams are collected.
    ///
    /// # Errors
    /// It could not be started, ran past its deadline, printed too much, or the operator interrupted.
    pub fn run(&self, cancel: &Cancel) -> Result<Output> {
        self.run_watched(cancel, &mut |_| {})
    }

    /// As [`Command::run`], and shows every piece of standard output to `watch` when it comes.
    ///
    /// # Errors
    /// As [`Command::run`].
    pub fn run_watched(&self, cancel: &Cancel, watch: &mut dyn FnMut(&[u8])) -> Result<Output> {
        cancel.check()?;
        tracing::debug!("run: {}", self.display());
        let mut child = self.spawn()?;
        let group = Group(Pid::from_child(&child));
        self.feed(&mut child)?;
        let mut streams = Streams::of(&mut child)?;
        let verdict = match self.follow(&child, &mut streams, cancel, watch) {
            Err(error) if !group.end(&mut child) => return Err(self.not_to_be_killed(child.id(), error)),
            verdict => verdict,
        };
        // Whatever it left running in its group has no business here; before the wait, while the group's number is ours.
        let _ = kill_process_group(group.0, Signal::KILL);
        let status = child.wait().map_err(|error| self.failed("could not be waited for", error))?;
        let output = streams.output(status);
        tracing::debug!("exit {}: {}", output.code, self.display());
        verdict.map_err(|error| self.or_no_space(error, &output).output(output.last_lines()))?;
        Ok(output)
    }

    /// Runs it to its end, and takes an exit code other than 0 for a failure.
    ///
    /// # Errors
    /// As [`Command::run`], and [`Kind::Command`] with the last lines that it printed; [`Kind::Host`] where these say
    /// that the disk is full.
    pub fn run_ok(&self, cancel: &Cancel) -> Result<Output> {
        let output = self.run(cancel)?;
        if output.success() {
            return Ok(output);
        }
        let error = Error::new(Kind::Command, format!("`{}` failed with exit code {}", self.display(), output.code));
        Err(self.or_no_space(error, &output).output(output.last_lines()))
    }

    /// The failure, or what lies behind it. Some programs go on without room, and say so of every file, until they have
    /// printed too much or taken too long.
    fn or_no_space(&self, error: Error, output: &Output) -> Error {
        if error.kind() != Kind::Command || !space::says_full(&String::from_utf8_lossy(&output.stderr)) {
            return error;
        }
        Error::new(Kind::Host, format!("`{}` found no space left", self.display()))
            .hint("free some space and run the same command again")
    }

    #[expect(clippy::disallowed_methods, reason = "this is the one place that starts processes")]
    fn spawn(&self) -> Result<Child> {
        let mut command = std::process::Command::new(&self.program);
        command.args(&self.arguments).envs(self.environment.iter().map(|(key, value)| (key, value)));
        command.stdin(match &self.input {
            Input::Nothing => Stdio::null(),
            Input::Bytes(_) => Stdio::piped(),
            Input::File(file) => file.try_clone()?.into(),
        });
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        command.spawn().map_err(|error| {
            let program = self.program.to_string_lossy();
            let missing = error.kind() == std::io::ErrorKind::NotFound;
            let error = self.failed("could not be started", error);
            if missing { error.hint(format!("install the package that has `{program}`")) } else { error }
        })
    }

    fn feed(&self, child: &mut Child) -> Result<()> {
        let (Some(mut stdin), Input::Bytes(bytes)) = (child.stdin.take(), &self.input) else { return Ok(()) };
        match stdin.write_all(bytes) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(self.failed("could not be fed", error)),
            _ => Ok(()),
        }
    }

    fn follow(
        &self,
        child: &Child,
        streams: &mut Streams,
        cancel: &Cancel,
        watch: &mut dyn FnMut(&[u8]),
    ) -> Result<()> {
        let process = pidfd_open(Pid::from_child(child), PidfdFlags::empty())
            .map_err(|error| self.failed("could not be watched", error.into()))?;
        let started = Instant::now();
        let mut ended: Option<Instant> = None;
        loop {
            let limit = match ended {
                Some(at) => LINGER.checked_sub(at.elapsed()),
                None => self.deadline.checked_sub(started.elapsed()),
            };
            let Some(left) = limit else {
                return if ended.is_some() { Ok(()) } else { Err(self.too_slow()) };
            };
            let ready = wait(&process, streams, cancel, left, ended.is_some())?;
            streams.read_ready(self.output_limit, watch).map_err(|fault| match fault {
                StreamFault::TooMuch => self.too_much(),
                StreamFault::Read(error) => self.failed("could not be read", error),
            })?;
            cancel.check()?;
            if ready && ended.is_none() {
                ended = Some(Instant::now());
            }
            if ended.is_some() && streams.all_closed() {
                return Ok(());
            }
        }
    }

    fn failed(&self, what: &str, error: std::io::Error) -> Error {
        Error::new(Kind::Command, format!("`{}` {what}", self.display())).caused_by(error)
    }

    fn not_to_be_killed(&self, process: u32, error: Error) -> Error {
        let message = format!("`{}` (process {process}) cannot be killed: it waits in the kernel", self.display());
        let hint = "says what it waits for; when a device does not answer, a reboot ends it";
        error.within(message).hint(format!("`cat /proc/{process}/stack` {hint}"))
    }

    fn too_slow(&self) -> Error {
        let seconds = self.deadline.as_secs_f64();
        Error::new(Kind::Command, format!("`{}` did not end within {seconds} s and was killed", self.display()))
    }

    fn too_much(&self) -> Error {
        let limit = self.output_limit;
        Error::new(Kind::Command, format!("`{}` printed more than {limit} bytes and was killed", self.display()))
    }
}

/// The process group of a child that we started as its leader.
struct Group(Pid);

impl Group {
    /// SIGTERM to all, a short grace, SIGKILL to all. False where the child has not ended even then: it waits in the
    /// kernel, as `nvidia-smi` and `modprobe` do for a GPU that does not answer, and a wait for it might have no end.
    fn end(&self, child: &mut Child) -> bool {
        let _ = kill_process_group(self.0, Signal::TERM);
        let process = pidfd_open(self.0, PidfdFlags::empty());
        if let Ok(process) = &process {
            ends_within(process, GRACE);
        }
        let _ = kill_process_group(self.0, Signal::KILL);
        let _ = child.kill();
        process.map_or(true, |process| ends_within(&process, GRACE))
    }
}

fn ends_within(process: &OwnedFd, time: Duration) -> bool {
    let timeout = Timespec { tv_sec: time.as_secs() as i64, tv_nsec: 0 };
    poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)).is_ok_and(|ready| ready > 0)
}

enum StreamFault {
    TooMuch,
    Read(std::io::Error),
}

struct Streams {
    stdout: Stream,
    stderr: Stream,
}

struct Stream {
    pipe: Option<std::fs::File>,
    bytes: Vec<u8>,
}

impl Streams {
    fn of(child: &mut Child) -> Result<Self> {
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        Ok(Self { stdout: Stream::of(stdout)?, stderr: Stream::of(stderr)? })
    }

    fn all_closed(&self) -> bool {
        self.stdout.pipe.is_none() && self.stderr.pipe.is_none()
    }

    fn read_ready(&mut self, limit: usize, watch: &mut dyn FnMut(&[u8])) -> Result<(), StreamFault> {
        self.stdout.read_ready(limit, watch)?;
        self.stderr.read_ready(limit, &mut |_| {})
    }

    fn output(self, status: ExitStatus) -> Output {
        let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(-1);
        Output { code, stdout: self.stdout.bytes, stderr: self.stderr.bytes }
    }
}

impl Stream {
    fn of(pipe: Option<OwnedFd>) -> Result<Self> {
        if let Some(pipe) = &pipe {
            rustix::io::ioctl_fionbio(pipe, true).map_err(std::io::Error::from)?;
        }
        Ok(Self { pipe: pipe.map(std::fs::File::from), bytes: Vec::new() })
    }

    fn read_ready(&mut self, limit: usize, watch: &mut dyn FnMut(&[u8])) -> Result<(), StreamFault> {
        let Some(pipe) = &mut self.pipe else { return Ok(()) };
        let mut piece = [0; 16 << 10];
        loop {
            match pipe.read(&mut piece) {
                Ok(0) => {
                    self.pipe = None;
                    return Ok(());
                }
                Ok(count) => {
                    watch(&piece[..count]);
                    let room = limit.saturating_sub(self.bytes.len());
                    self.bytes.extend_from_slice(&piece[..count.min(room)]);
                    if count > room {
                        return Err(StreamFault::TooMuch);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(StreamFault::Read(error)),
            }
        }
    }
}

/// Waits until a stream has something, the process has ended, or somebody interrupts; true when the process has ended.
fn wait(process: &OwnedFd, streams: &Streams, cancel: &Cancel, left: Duration, ended: bool) -> Result<bool> {
    let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
    let cancel_fd = cancel.as_fd();
    let mut fds = vec![PollFd::new(&cancel_fd, PollFlags::IN)];
    if !ended {
        fds.push(PollFd::new(process, PollFlags::IN));
    }
    fds.extend(
        [&streams.stdout, &streams.stderr]
            .into_iter()
            .filter_map(|stream| stream.pipe.as_ref().map(|pipe| PollFd::new(pipe, PollFlags::IN))),
    );
    match poll(&mut fds, Some(&timeout)) {
        Ok(_) => Ok(!ended && !fds[1].revents().is_empty()),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(std::io::Error::from(error).into()),
    }
}

fn quoted(word: &str) -> String {
    let plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,+@%".contains(character);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
#[path = "command_tests.rs"]
mod tests;
