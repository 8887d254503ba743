//! What a run has shown, as a snapshot can hold it: the command, the exit code and both streams, without what differs
//! from run to run.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

use crate::ran::Ran;
use crate::world::World;

/// Patterns and what stands for them.
const VARYING: [(&str, &str); 9] = [
    (r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?Z?", "[time]"),
    (r"\b[0-9a-f]{64}\b", "[sha256]"),
    (r#""milliseconds":\d+"#, r#""milliseconds":[ms]"#),
    (r"done in \d+\.\d s", "done in [s]"),
    (r"tar: \./\S+: .*", "tar: [file]: [reason]"),
    (r"(the template `\S+`) needs \d+ MB", "$1 needs [count] MB"),
    (r"\b\d{7}\b( bytes)?", "[bytes]$1"),
    (r#""(done|total)":\d+"#, r#""$1":[count]"#),
    (r"phoenix-nvidia \d+\.\d+\.\d+", "phoenix-nvidia [version]"),
];

/// Compares what a run has shown with the snapshot of this name; `INSTA_UPDATE=always` writes it.
#[track_caller]
pub fn assert_shown(name: &str, world: &World, arguments: &[&str], ran: &Ran) {
    let mut text = format!("$ phoenix-nvidia {}\nexit code {}\n", arguments.join(" "), ran.code);
    for (stream, shown) in [("standard output", &ran.stdout), ("standard error", &ran.stderr)] {
        if !shown.is_empty() {
            text.push_str(&format!("\n[{stream}]\n{shown}"));
        }
    }
    assert_text(name, world, &text);
}

/// Compares any text with the snapshot of this name.
#[track_caller]
pub fn assert_text(name: &str, world: &World, text: &str) {
    let text = text.replace(world.scratch("").to_str().unwrap().trim_end_matches('/'), "[world]");
    let text = text.replace(world.template().to_str().unwrap(), "[template]");
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/snapshots"));
    for (pattern, stand_in) in VARYING {
        settings.add_filter(pattern, stand_in);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}
