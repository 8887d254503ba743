//! The program while it runs: watched, interrupted, killed.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use phoenix_nvidia::sys::cancel::Cancel;

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::world::World;

const PROGRAM: &str = env!("CARGO_BIN_EXE_phoenix-nvidia");
// How long a condition may take to come true, and how often it is looked at.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// The program, started and not waited for.
pub(super) struct Process {
    child: Child,
    command: String,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Process {
    /// Starts the program in a world; what it prints goes to files there, so that it never waits for a reader.
    pub(super) fn start(world: &World, arguments: &[&str]) -> Self {
        Self::spawn(world, &[&[PROGRAM], arguments].concat())
    }

    /// The same on a host that seems to have GPUs.
    pub(super) fn start_on(host: &PretendedGpuHost, world: &World, arguments: &[&str]) -> Self {
        let namespace = host.mount_namespace();
        Self::spawn(world, &[&["nsenter", &namespace, "--", PROGRAM], arguments].concat())
    }

    #[expect(clippy::disallowed_methods, reason = "it is to be killed, which the library's command never does first")]
    fn spawn(world: &World, words: &[&str]) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let (stdout, stderr) = (world.scratch(&format!("stdout-{number}")), world.scratch(&format!("stderr-{number}")));
        let child = Command::new(words[0])
            .args(&words[1..])
            .envs(world.environment())
            .stdin(Stdio::null())
            .stdout(File::create(&stdout).unwrap())
            .stderr(File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Self { child, command: words.join(" "), stdout, stderr }
    }

    /// Waits until something has come true while the program runs; it is shown what the program has said so far.
    #[track_caller]
    pub(super) fn wait_until(&mut self, what: &str, is_so: impl Fn(&str) -> bool) {
        let cancel = Cancel::new().unwrap();
        let began = Instant::now();
        loop {
            let said = fs_err::read_to_string(&self.stderr).unwrap();
            if is_so(&said) {
                return;
            }
            assert!(self.child.try_wait().unwrap().is_none(), "it ended before {what}\n{said}");
            assert!(began.elapsed() < PATIENCE, "{what}: in vain\n{said}");
            cancel.wait(LOOK_AGAIN).unwrap();
        }
    }

    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// As Ctrl-C does.
    pub(super) fn interrupt(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// As an operator's last resort does, or the kernel when memory is short; says whether it had not come to its end.
    pub(super) fn kill(mut self) -> bool {
        self.child.kill().unwrap();
        !self.child.wait().unwrap().success()
    }

    /// Waits for its end.
    pub(super) fn end(mut self) -> Ran {
        let status = self.child.wait().unwrap();
        let signal = std::os::unix::process::ExitStatusExt::signal(&status).unwrap_or(0);
        Ran {
            code: status.code().unwrap_or(128 + signal),
            stdout: fs_err::read_to_string(&self.stdout).unwrap(),
            stderr: fs_err::read_to_string(&self.stderr).unwrap(),
            command: self.command,
        }
    }
}
