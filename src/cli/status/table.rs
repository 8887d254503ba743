//! The state of containers as columns.

use phoenix_nvidia::driver::DriverVersion;
use phoenix_nvidia::status::{ClusterNode, ContainerStatus, Nodes};

use super::tone::Tone;
use crate::cli::{report, terminal};

/// The column of the cluster's nodes, where one is shown, and its place.
const CLUSTER_NODE: (usize, &str) = (2, "ON NODE");
const HEADER: [&str; 13] = [
    "CTID",
    "NAME",
    "STATE",
    "WANTED",
    "HOST",
    "INSTALLED",
    "REPORTED",
    "METHOD",
    "PROFILE",
    "GPUS",
    "NODES",
    "CACHED",
    "VERDICT",
];

const SHORT: [&str; 7] = ["CTID", "NAME", "STATE", "VERDICT", "INSTALLED", "METHOD", "GPUS"];

/// What matters first: the host's version once, the containers that need attention before the others, and below each why
/// and what to do. It fits a screen of 100 columns.
pub(super) fn of(rows: &[ContainerStatus], host: Option<&DriverVersion>) -> String {
    let mut rows: Vec<&ContainerStatus> = rows.iter().collect();
    rows.sort_by_key(|row| Tone::of(row.verdict));
    let (place, head) = CLUSTER_NODE;
    let has_nodes = rows.iter().any(|row| row.cluster_node.is_some());
    let mut header = SHORT.to_vec();
    if has_nodes {
        header.insert(place, head);
    }
    let cells = |row: &&ContainerStatus| {
        let mut cells = short_cells(row);
        if has_nodes {
            cells.insert(place, cluster_node(row.cluster_node.as_ref()));
        }
        cells
    };
    let table = terminal::table(&header, rows.iter().map(cells));
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default();
    let verdicts = head.find("VERDICT").unwrap_or_default();
    let module = host.map_or_else(|| "not loaded".to_owned(), ToString::to_string);
    let mut text = format!("kernel module of the host: {module}\n{head}\n");
    for (line, row) in lines.zip(rows) {
        text.push_str(&coloured(line, verdicts, row));
        text.push('\n');
        text.extend(explanations(row).iter().map(|line| format!("    {}\n", terminal::one_printable_line(line))));
    }
    text
}

/// The line of a row with its verdict in its colour, which begins at this byte.
fn coloured(line: &str, verdict: usize, row: &ContainerStatus) -> String {
    let words = row.verdict.words();
    let style = Tone::of(row.verdict).style();
    match (line.get(..verdict), line.get(verdict..)) {
        (Some(before), Some(rest)) if rest.starts_with(words) => {
            format!("{before}{style}{words}{style:#}{}", &rest[words.len()..])
        }
        _ => line.to_owned(),
    }
}

/// Why a container has its verdict, and what to do about it, a line each.
fn explanations(row: &ContainerStatus) -> Vec<String> {
    let mut lines: Vec<String> = row.reason.iter().chain(&row.moved_gpus).cloned().collect();
    let wants_help = matches!(Tone::of(row.verdict), Tone::Bad | Tone::Doubtful);
    lines.extend(row.hint.iter().filter(|_| wants_help).map(|hint| format!("hint: {hint}")));
    lines
}

fn short_cells(row: &ContainerStatus) -> Vec<String> {
    let method = row.method.map(|method| match row.profile {
        Some(profile) => format!("{}, {}", method.word(), profile.word()),
        None => method.word().to_owned(),
    });
    vec![
        row.id.to_string(),
        row.name.clone(),
        row.state.to_owned(),
        row.verdict.words().to_owned(),
        report::or_dash(row.installed.as_ref()),
        report::or_dash(method.as_ref()),
        gpus(row),
    ]
}

/// Every column; one line a container, in the order that was asked for.
pub(super) fn wide(rows: &[ContainerStatus]) -> String {
    if !names_nodes(rows) {
        return terminal::table(&HEADER, rows.iter().map(cells));
    }
    let (place, head) = CLUSTER_NODE;
    let mut header = HEADER.to_vec();
    header.insert(place, head);
    let cells = |row: &ContainerStatus| {
        let mut cells = cells(row);
        cells.insert(place, cluster_node(row.cluster_node.as_ref()));
        cells
    };
    terminal::table(&header, rows.iter().map(cells))
}

/// Whether a row says which node of a cluster has it; most hosts have none.
pub(super) fn names_nodes(rows: &[ContainerStatus]) -> bool {
    rows.iter().any(|row| row.cluster_node.is_some())
}

/// The node that has a container, and whether it answers.
pub(super) fn cluster_node(node: Option<&ClusterNode>) -> String {
    match node {
        None => "-".to_owned(),
        Some(ClusterNode { name, online: Some(true) }) => name.clone(),
        Some(ClusterNode { name, online: Some(false) }) => format!("{name} (offline)"),
        Some(ClusterNode { name, online: None }) => format!("{name} (not known)"),
    }
}

/// The GPUs, or a dash.
pub(super) fn gpus(row: &ContainerStatus) -> String {
    if row.gpus.is_empty() { "-".to_owned() } else { row.gpus.join(",") }
}

/// How the device nodes are: `5 ok`, or `2 of 5 missing`.
pub(super) fn nodes(nodes: Option<&Nodes>) -> String {
    match nodes {
        None => "-".to_owned(),
        Some(nodes) if nodes.missing.is_empty() => format!("{} ok", nodes.wanted),
        Some(nodes) => format!("{} of {} missing", nodes.missing.len(), nodes.wanted),
    }
}

fn cells(row: &ContainerStatus) -> Vec<String> {
    let reasons: Vec<&str> = row.reason.iter().chain(&row.moved_gpus).map(String::as_str).collect();
    let verdict = match reasons.is_empty() {
        true => row.verdict.words().to_owned(),
        false => format!("{}: {}", row.verdict.words(), reasons.join("; ")),
    };
    vec![
        row.id.to_string(),
        row.name.clone(),
        row.state.to_owned(),
        report::or_dash(row.wanted.as_ref()),
        report::or_dash(row.host.as_ref()),
        report::or_dash(row.installed.as_ref()),
        report::reported(&row.reported),
        report::or_dash(row.method.map(|method| method.word()).as_ref()),
        report::or_dash(row.profile.map(|profile| profile.word()).as_ref()),
        gpus(row),
        nodes(row.nodes.as_ref()),
        report::or_dash(row.cached.as_ref()),
        verdict,
    ]
}
