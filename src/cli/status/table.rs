//! The state of containers as columns.

use phoenix_nvidia::status::{ClusterNode, ContainerStatus, Nodes};

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

/// The whole table; one line a container.
pub(super) fn of(rows: &[ContainerStatus]) -> String {
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
