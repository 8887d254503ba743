//! `man`: the manual pages, one for the program and one for every subcommand.

use std::path::Path;

use clap::CommandFactory;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use phoenix_nvidia::config::Layout;
use phoenix_nvidia::error::Result;
use phoenix_nvidia::sys::atomic;

use super::arguments::Arguments;
use super::words::without_global_options;
use super::{Ended, examples};

/// What stands at the left of a list, and what it is.
type Row = (String, &'static str);

/// What `docs/exit-codes.md` says, in short.
const EXIT_CODES: [(&str, &str); 12] = [
    ("0", "Done, or nothing to do."),
    ("1", "An internal error; please report it."),
    ("2", "The command line is wrong, or asks for something that is impossible."),
    ("3", "A configuration file is wrong, or asks for something that is impossible."),
    ("4", "There is something to do: `plan --exit-code`, `status --exit-code`, `doctor`, `update-check`."),
    ("5", "Several containers: some failed, or they failed in different ways."),
    ("6", "A hypervisor's tool, or a command in a container, failed."),
    ("7", "A run file, an installed driver or a container's network is not as wanted."),
    ("8", "A download failed."),
    ("9", "Another process held a lock for longer than `--lock-timeout`."),
    ("10", "A problem of this host: no permission, no space, a missing device node or kernel module."),
    ("130", "Interrupted, or a confirmation that was not answered with `yes`."),
];

const ENVIRONMENT: [(&str, &str); 5] = [
    ("PHOENIX_BASE", "The base directory, where `--base` does not name it."),
    ("PHOENIX_LXCPATH", "The directory of plain LXC's containers, where `--lxcpath` does not name it."),
    ("PHOENIX_LOG_FILE", "The log file, where `--log-file` does not name it."),
    ("ALL_PROXY, HTTPS_PROXY, HTTP_PROXY, NO_PROXY", "The proxy for downloads, and the hosts that need none."),
    ("NO_COLOR", "No colours, if it is set."),
];

pub(crate) fn run(directory: &Path) -> Result<Ended> {
    let mut program = Arguments::command();
    program.build();
    write_page(&program, "", directory)?;
    // What all have in common stands in the program's page.
    let mut short = without_global_options();
    short.build();
    write_pages_below(&short, "", directory)?;
    Ok(Ended::Well)
}

fn write_pages_below(command: &clap::Command, subcommand: &str, directory: &Path) -> Result<()> {
    for command in command.get_subcommands() {
        let subcommand = format!("{subcommand} {}", command.get_name());
        write_page(command, subcommand.trim_start(), directory)?;
        write_pages_below(command, subcommand.trim_start(), directory)?;
    }
    Ok(())
}

fn write_page(command: &clap::Command, subcommand: &str, directory: &Path) -> Result<()> {
    let name = format!("phoenix-nvidia {subcommand}").trim_end().replace(' ', "-");
    let source = concat!("phoenix-nvidia ", env!("CARGO_PKG_VERSION"));
    let titled = command.clone().display_name(name.clone());
    let man = clap_mangen::Man::new(titled).title(name.to_uppercase()).source(source);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    own_sections(subcommand).to_writer(&mut page)?;
    atomic::write(&directory.join(format!("{name}.1")), &page, 0o644)
}

/// What clap does not know.
fn own_sections(subcommand: &str) -> Roff {
    let mut roff = Roff::new();
    section(&mut roff, "EXIT STATUS", &EXIT_CODES.map(|(code, meaning)| (code.to_owned(), meaning)));
    section(&mut roff, "ENVIRONMENT", &ENVIRONMENT.map(|(name, meaning)| (name.to_owned(), meaning)));
    section(&mut roff, "FILES", &files());
    let examples = examples::of(subcommand).iter();
    let calls: Vec<Row> = examples.map(|(call, what)| (format!("phoenix-nvidia {call}"), *what)).collect();
    section(&mut roff, "EXAMPLES", &calls);
    if !subcommand.is_empty() {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("phoenix-nvidia"), roman("(1) describes the options of every subcommand.")]);
    }
    roff
}

fn files() -> Vec<Row> {
    let layout = Layout::new(Layout::DEFAULT_BASE);
    let path = |path: &Path, end: &str| format!("{}{end}", path.display());
    vec![
        (path(&layout.containers_file(), ""), "The containers, as they should be."),
        (path(&layout.hypervisor_file(), ""), "Settings for all; may be missing."),
        (path(&layout.cache(), "/"), "The run files, with their checksums."),
        (path(&layout.base().join("lib"), "/"), "Extracted drivers, images, receipts and locks."),
        ("/var/log/phoenix_hypervisor.log".to_owned(), "The log."),
        ("/var/lib/phoenix-nvidia/".to_owned(), "In a container: a copy of the receipt of its driver."),
    ]
}

fn section(roff: &mut Roff, heading: &str, rows: &[Row]) {
    roff.control("SH", [heading]);
    for (left, meaning) in rows {
        roff.control("TP", []);
        roff.text([bold(left.as_str())]);
        roff.text(marked(meaning));
    }
}

/// A sentence, in which what stands between backticks is typed.
fn marked(text: &str) -> Vec<Inline> {
    let part = |(index, part): (usize, &str)| if index % 2 == 1 { italic(part) } else { roman(part) };
    text.split('`').enumerate().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_codes_are_those_of_the_documentation() {
        let rows = include_str!("../../docs/exit-codes.md").lines().filter_map(|line| line.strip_prefix("| "));
        let codes: Vec<&str> = rows.filter_map(|row| row.split_once(" |").map(|(code, _)| code)).skip(1).collect();
        assert_eq!(EXIT_CODES.map(|(code, _)| code).to_vec(), codes);
    }

    #[test]
    fn every_variable_of_an_option_is_named() {
        for argument in Arguments::command().get_arguments().filter(|argument| !argument.is_hide_set()) {
            let variable = argument.get_env().map(|variable| variable.to_str().unwrap());
            assert!(variable.is_none_or(|it| ENVIRONMENT.iter().any(|(name, _)| *name == it)), "{variable:?}");
        }
    }
}
