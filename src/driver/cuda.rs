//! Whether CUDA can start: the probe that asks its driver in a container, what it prints, and what the results mean. The
//! numbers are those of `CUresult` in NVIDIA's documentation of the CUDA driver API (13.0).

/// The program that asks. It runs with glibc 2.17 and later; its source is `probe/probe.c`.
pub const PROBE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cuda-probe"));

/// Where programs look for CUDA's driver.
pub const LIBRARY: &str = "libcuda.so.1";

const MOST_LINES: usize = 64;
const LONGEST_TEXT: usize = 300;

/// What came of asking as one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// The user's number in the container.
    pub user: u32,
    /// The file that the loader took, where it took one.
    pub library: Option<String>,
    /// The answer.
    pub answer: Answer,
}

/// The answer of CUDA's driver, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It starts.
    Starts {
        /// How many GPUs it sees.
        gpus: usize,
    },
    /// `cuInit` returned this number.
    Fails(u32),
    /// The loader found no library, or no function in it; what it said.
    NoLibrary(String),
    /// The library ended its process with this signal.
    Killed(u32),
    /// The container has no such user.
    NoSuchUser,
    /// The probe did not finish.
    Unfinished,
}

/// Reads what the probe printed. It comes from a container: little of it is believed, and texts are shortened and cleaned.
pub fn read(stdout: &str) -> Vec<Asked> {
    let mut asked: Vec<Asked> = Vec::new();
    for line in stdout.lines().take(MOST_LINES) {
        let (word, value) = line.split_once(' ').unwrap_or((line, ""));
        let number = value.parse::<u32>();
        if let ("user", Ok(user)) = (word, &number) {
            asked.push(Asked { user: *user, library: None, answer: Answer::Unfinished });
            continue;
        }
        let Some(last) = asked.last_mut() else { continue };
        match (word, number) {
            ("refused", _) => last.answer = Answer::NoSuchUser,
            ("missing", _) => last.answer = Answer::NoLibrary(cleaned(value)),
            ("library", _) => last.library = Some(cleaned(value)),
            ("init", Ok(result)) if result != 0 => last.answer = Answer::Fails(result),
            ("count", Ok(gpus)) => last.answer = Answer::Starts { gpus: gpus as usize },
            ("killed", Ok(signal)) => last.answer = Answer::Killed(signal),
            _ => {}
        }
    }
    asked
}

fn cleaned(text: &str) -> String {
    text.chars().filter(|it| it.is_ascii_graphic() || *it == ' ').take(LONGEST_TEXT).collect()
}

/// What a result of `cuInit` means, in one phrase.
pub fn meaning(result: u32) -> &'static str {
    match result {
        2 => "out of memory",
        34 => "the library is a stub of the CUDA toolkit, not a driver",
        46 => "a GPU is used exclusively by another process",
        100 => "it finds no GPU",
        101 => "a GPU is not usable",
        304 => "a call to the kernel failed",
        800 => "it is not permitted",
        801 => "this system is not supported",
        802 => "the system is not ready: the GPUs' NVLink fabric has not been set up",
        803 => "the library is of another version than the host's kernel module",
        804 => "it is a forward-compatibility library, which does not support this GPU",
        805 => "the MPS server does not answer",
        999 => "unknown error",
        _ => "see `CUresult` in NVIDIA's documentation of the CUDA driver API",
    }
}

/// What to do about a result of `cuInit`.
pub fn remedy(result: u32) -> &'static str {
    match result {
        34 | 803 | 804 => {
            "check which one comes first with `ldconfig -p | grep libcuda` in the container; remove the packages \
             `cuda-compat-*` and the files in `/etc/ld.so.conf.d` that name another directory, then run `ldconfig` in \
             it; `LD_LIBRARY_PATH` among `lxc.environment` of its settings takes precedence over all these"
        }
        46 => "check with `nvidia-smi -q -d COMPUTE` on the host whether its compute mode is `Exclusive_Process`",
        100 | 101 | 800 => {
            "run `phoenix-nvidia doctor` to see which device node is missing or closed, and check with `nvidia-smi -L` \
             on the host whether the GPU is divided (MIG): then assign one of its instances"
        }
        801 => {
            "on a virtual machine, give it the CPU of its host (`cpu: host`) and a vGPU that supports CUDA; then reboot it"
        }
        802 => {
            "start the fabric manager of the same version on the host: `systemctl enable --now nvidia-fabricmanager`; see \
             `nvidia-smi -q | grep -A 2 Fabric`"
        }
        805 => "start the MPS server, or stop it with `echo quit | nvidia-cuda-mps-control`",
        _ => {
            "reload the module on the host while nothing uses the GPUs: `modprobe -r nvidia_uvm && modprobe \
             nvidia_uvm`; then run `phoenix-nvidia host prepare`, and restart the container; see `dmesg | grep -i nvrm`"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answers(text: &str) -> Vec<Answer> {
        read(text).into_iter().map(|asked| asked.answer).collect()
    }

    #[test]
    fn the_probe_asks_for_the_oldest_symbols_alone() {
        let text = String::from_utf8_lossy(PROBE);
        let versions: Vec<&str> =
            text.match_indices("GLIBC_").map(|(at, _)| text[at..].split('\0').next().unwrap()).collect();
        let oldest = if cfg!(target_arch = "aarch64") { "GLIBC_2.17" } else { "GLIBC_2.2.5" };
        assert!(!versions.is_empty() && versions.iter().all(|version| *version == oldest), "{versions:?}");
        assert!(text.contains("libdl.so.2") && text.contains("libc.so.6"));
    }

    #[test]
    fn each_user_has_an_answer() {
        let text = "user 0\nlibrary /usr/lib/libcuda.so.1\nversion 13000\ninit 0\ncount 2\ndone -\n\
                    user 65534\nlibrary /usr/lib/libcuda.so.1\nversion 13000\ninit 999\ndone -\n";
        assert_eq!(answers(text), [Answer::Starts { gpus: 2 }, Answer::Fails(999)]);
        assert_eq!(read(text)[0].library.as_deref(), Some("/usr/lib/libcuda.so.1"));
        let missing = "user 0\nmissing libcuda.so.1: cannot open shared object file\ndone -\nuser 7\nrefused -\n";
        let said = Answer::NoLibrary("libcuda.so.1: cannot open shared object file".to_owned());
        assert_eq!(answers(missing), [said, Answer::NoSuchUser]);
    }

    #[test]
    fn an_answer_that_ends_early_is_no_good_one() {
        assert_eq!(answers("user 0\nlibrary /x\ninit 0\n"), [Answer::Unfinished]);
        assert_eq!(answers("user 0\nlibrary /x\nkilled 11\n"), [Answer::Killed(11)]);
        for lie in ["", "init 0\ncount 8\n", "user \u{1b}[2J\n", "count 1"] {
            assert_eq!(read(lie), [], "{lie:?}");
        }
        let hostile = format!("user 0\nmissing \u{1b}[2J{}\n", "x".repeat(5000));
        let Answer::NoLibrary(said) = &answers(&hostile)[0] else { panic!("{hostile}") };
        assert!(said.len() == LONGEST_TEXT && !said.contains('\u{1b}'));
    }
}
