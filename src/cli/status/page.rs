//! The state of containers as one page for browsers, which needs nothing but itself.
//!
//! Everything that comes from containers and configuration goes through `maud`, which escapes it. Its policy lets run
//! only the style and the script that are in it, known by their sums, and lets it load nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use phoenix_nvidia::status::{ContainerStatus, Verdict};

use super::tone::Tone;
use super::{Fleet, table};
use crate::cli::{report, terminal};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

// In the order of the cells of a row.
/// The column of the cluster's nodes, where one is shown.
const CLUSTER_NODE: &str = "On node";
const COLUMNS: [&str; 12] = [
    "CTID",
    "Name",
    "State",
    "Verdict",
    "Wanted",
    "Installed",
    "Reported",
    "Method",
    "Profile",
    "GPUs",
    "Nodes",
    "Cached",
];

/// The whole page.
pub(super) fn of(fleet: &Fleet<'_>) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy());
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                @if let Some(seconds) = fleet.refresh { meta http-equiv="refresh" content=(seconds); }
                title { "NVIDIA drivers of " (printable(&fleet.host_name)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                (head(fleet))
                main { (containers(fleet)) }
                (foot(fleet))
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string() + "\n"
}

/// Nothing may be loaded, and only this style and this script be used.
fn policy() -> String {
    let sum = |text: &str| STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()));
    format!(
        "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; base-uri 'none'; form-action 'none'",
        sum(STYLE),
        sum(SCRIPT)
    )
}

fn head(fleet: &Fleet<'_>) -> Markup {
    let tones: Vec<Tone> = fleet.rows.iter().map(|row| Tone::of(row.verdict)).collect();
    let counts = Tone::ALL.map(|tone| (tone, tones.iter().filter(|other| **other == tone).count()));
    html! {
        header {
            h1 { "NVIDIA drivers " span.on { "on " (printable(&fleet.host_name)) } }
            ul.summary aria-label="Containers by verdict" {
                @for (tone, count) in counts.iter().filter(|(_, count)| *count > 0) {
                    li class=(tone.class()) { strong { (count) } " " (tone.summary()) }
                }
            }
            (host(fleet))
        }
    }
}

fn host(fleet: &Fleet<'_>) -> Markup {
    let loaded = fleet.host.loaded.as_ref();
    let pending = fleet.on_disk.as_ref().filter(|on_disk| loaded.is_some_and(|loaded| loaded != *on_disk));
    html! {
        dl.host {
            div {
                dt { "Kernel module" }
                dd {
                    @match loaded {
                        Some(version) => { code { (version) } " loaded" }
                        None => { span.badge.doubtful { "none loaded" } }
                    }
                }
            }
            @if let Some(version) = pending {
                div { dt { "On disk" } dd { code { (version) } " " span.badge.doubtful { "reboot pending" } } }
            } @else if loaded.is_none() && fleet.on_disk.is_some() {
                div { dt { "On disk" } dd { code { (report::or_dash(fleet.on_disk.as_ref())) } } }
            }
            @for gpu in &fleet.host.gpus {
                div {
                    dt { "GPU " (gpu.minor) }
                    dd { (printable(&gpu.model)) " " code { (printable(&gpu.pci_address)) } }
                }
            }
        }
    }
}

fn containers(fleet: &Fleet<'_>) -> Markup {
    if fleet.rows.is_empty() {
        return html! { p.empty { "No container is configured, and none of this host has NVIDIA devices in its settings." } };
    }
    let names_nodes = table::names_nodes(&fleet.rows);
    // What needs attention comes first, as in the table of a terminal.
    let mut rows: Vec<&ContainerStatus> = fleet.rows.iter().collect();
    rows.sort_by_key(|row| Tone::of(row.verdict));
    // The roles say again what the elements are: on narrow screens they are laid out as blocks, and browsers then
    // forget it.
    html! {
        div.scroll {
            table role="table" {
                caption { "Containers" }
                thead role="rowgroup" {
                    tr role="row" {
                        @for column in COLUMNS { th role="columnheader" scope="col" { (column) } }
                        @if names_nodes { th role="columnheader" scope="col" { (CLUSTER_NODE) } }
                    }
                }
                tbody role="rowgroup" { @for row in &rows { (container(row, names_nodes)) } }
            }
        }
    }
}

// Longer names take more than half of a narrow screen.
const LONGEST_UNBROKEN: usize = 24;

fn container(row: &ContainerStatus, names_nodes: bool) -> Markup {
    let tone = Tone::of(row.verdict);
    let differs = row.wanted.is_some() && row.installed.is_some() && row.wanted != row.installed;
    let mut cells = vec![
        ("State", row.state.to_owned()),
        ("", String::new()),
        ("Wanted", report::or_dash(row.wanted.as_ref())),
        ("Installed", report::or_dash(row.installed.as_ref())),
        ("Reported", report::reported(&row.reported)),
        ("Method", report::or_dash(row.method.map(|method| method.word()).as_ref())),
        ("Profile", report::or_dash(row.profile.map(|profile| profile.word()).as_ref())),
        ("GPUs", table::gpus(row)),
        ("Nodes", table::nodes(row.nodes.as_ref())),
        ("Cached", report::or_dash(row.cached.as_ref())),
    ];
    if names_nodes {
        cells.push((CLUSTER_NODE, table::cluster_node(row.cluster_node.as_ref())));
    }
    html! {
        tr role="row" class=(tone.class()) {
            th role="rowheader" scope="row" data-label="CTID" { (row.id) }
            td.name.long[row.name.chars().count() > LONGEST_UNBROKEN] role="cell" data-label="Name" { (printable(&row.name)) }
            @for (label, text) in &cells {
                @if label.is_empty() {
                    td.verdict role="cell" data-label="Verdict" data-order=(tone as u8) { (verdict(row, tone)) }
                } @else {
                    td role="cell" data-label=(label) class=[class_of(label, text, differs)] {
                        @if text == "-" { span.none { "–" } } @else { (printable(text)) }
                    }
                }
            }
        }
    }
}

fn class_of(label: &str, text: &str, differs: bool) -> Option<&'static str> {
    match label {
        "Installed" => differs.then_some("differs"),
        // A UUID in one line would push the other columns out.
        "GPUs" => (text.chars().count() > LONGEST_UNBROKEN).then_some("gpus"),
        _ => None,
    }
}

fn verdict(row: &ContainerStatus, tone: Tone) -> Markup {
    // What nobody has asked does not look like what has answered.
    let unasked = if row.verdict == Verdict::InSync { " unasked" } else { "" };
    html! {
        span class={ "badge " (tone.class()) (unasked) } { (row.verdict.words()) }
        @if let Some(reason) = &row.reason { p.reason { (printable(reason)) } }
        @if let Some(hint) = &row.hint { p.hint { (with_code(&printable(hint))) } }
    }
}

/// A hint, with what stands between backticks as something to copy.
fn with_code(hint: &str) -> Markup {
    html! {
        @for (index, part) in hint.split('`').enumerate() {
            @if index % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

fn foot(fleet: &Fleet<'_>) -> Markup {
    let local = fleet.at.to_zoned(jiff::tz::TimeZone::system());
    html! {
        footer {
            p {
                "Made "
                time datetime=(fleet.at.strftime("%Y-%m-%dT%H:%M:%SZ")) { (local.strftime("%Y-%m-%d %H:%M:%S %Z")) }
                " by " (concat!("phoenix-nvidia ", env!("CARGO_PKG_VERSION"))) ". "
                @if fleet.asked {
                    "The driver in every running container was asked with " code { "nvidia-smi" } "."
                } @else {
                    "From files, settings, device nodes and the host’s kernel module; the drivers were not asked."
                }
            }
        }
    }
}

/// Control characters mean nothing in HTML, and hide what is there.
fn printable(text: &str) -> String {
    terminal::one_printable_line(text)
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
