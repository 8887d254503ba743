//! The program `phoenix-nvidia`: arguments in, text and exit code out.

mod cli;

fn main() -> std::process::ExitCode {
    cli::run(std::env::args_os().collect())
}
