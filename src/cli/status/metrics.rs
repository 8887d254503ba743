//! The state of containers as metrics, in the text format 0.0.4 of Prometheus, for the node exporter's textfile collector.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use phoenix_nvidia::status::ContainerStatus;

use super::Fleet;
use crate::cli::terminal;

/// One metric with all its samples.
struct Metric {
    name: &'static str,
    help: &'static str,
    samples: String,
}

/// The whole file.
pub(super) fn of(fleet: &Fleet<'_>) -> String {
    let mut metrics = host_metrics(fleet);
    metrics.extend(container_metrics(&fleet.rows));
    metrics.push(cluster_nodes(&fleet.rows));
    let mut made = Metric::new("phoenix_nvidia_status_timestamp_seconds", "Unix time of these metrics.");
    made.sample(&[], fleet.at.as_second());
    metrics.push(made);
    metrics.iter().filter(|metric| !metric.samples.is_empty()).map(Metric::text).collect()
}

fn host_metrics(fleet: &Fleet<'_>) -> Vec<Metric> {
    let mut driver = Metric::new(
        "phoenix_nvidia_host_driver_info",
        "Version of the host's NVIDIA kernel module, loaded and on disk; empty if none.",
    );
    let text = |version: Option<&_>| version.map_or_else(String::new, ToString::to_string);
    driver.sample(&[("loaded", &text(fleet.host.loaded.as_ref())), ("on_disk", &text(fleet.on_disk.as_ref()))], 1);
    let mut gpus = Metric::new("phoenix_nvidia_host_gpu_info", "GPU bound to the host's NVIDIA kernel module.");
    for gpu in &fleet.host.gpus {
        let minor = gpu.minor.to_string();
        let uuid = gpu.uuid.as_deref().unwrap_or_default();
        gpus.sample(&[("minor", &minor), ("pci_address", &gpu.pci_address), ("uuid", uuid), ("model", &gpu.model)], 1);
    }
    let mut update = Metric::new(
        "phoenix_nvidia_update_available",
        "1 if the last update-check found a newer driver of the loaded branch, 0 if not; no sample if none has.",
    );
    if let (Some(loaded), Some(newest)) = (&fleet.host.loaded, &fleet.newest) {
        update.sample(&[("loaded", loaded.as_str()), ("newest", newest.as_str())], u8::from(newest > loaded));
    }
    vec![driver, gpus, update]
}

fn container_metrics(rows: &[ContainerStatus]) -> Vec<Metric> {
    let mut info = Metric::new("phoenix_nvidia_container_info", "The state of a container, in labels.");
    let mut in_sync = Metric::new(
        "phoenix_nvidia_container_in_sync",
        "1 if the container is in sync, 0 if it is not; no sample if that is not known.",
    );
    let mut gpus = Metric::new("phoenix_nvidia_container_gpus", "Number of GPUs assigned to a container.");
    let mut missing = Metric::new(
        "phoenix_nvidia_container_device_nodes_missing",
        "How many of its device nodes a running container lacks.",
    );
    for row in rows {
        let ctid = row.id.to_string();
        let labels = [("ctid", ctid.as_str()), ("name", &row.name)];
        let words = words(row);
        let mut said = [&labels[..], &words.each_ref().map(|(key, value)| (*key, value.as_str()))].concat();
        said.extend(row.cluster_node.as_ref().map(|node| ("node", node.name.as_str())));
        info.sample(&said, 1);
        // What is not known is no reason for an alarm: `--exit-code` says nothing about it either.
        if let Some(value) = row.in_sync {
            in_sync.sample(&labels, u8::from(value));
        }
        gpus.sample(&labels, row.gpus.len());
        if let Some(nodes) = &row.nodes {
            missing.sample(&labels, nodes.missing.len());
        }
    }
    vec![info, in_sync, gpus, missing]
}

/// The nodes of the cluster that are known to answer, or not to, once each.
fn cluster_nodes(rows: &[ContainerStatus]) -> Metric {
    let mut online =
        Metric::new("phoenix_nvidia_cluster_node_online", "Whether a node of the cluster answers, as this one knows.");
    let nodes = rows.iter().filter_map(|row| row.cluster_node.as_ref());
    let known: BTreeMap<&str, bool> = nodes.filter_map(|node| Some((node.name.as_str(), node.online?))).collect();
    for (node, is_online) in known {
        online.sample(&[("node", node)], u8::from(is_online));
    }
    online
}

fn words(row: &ContainerStatus) -> [(&'static str, String); 6] {
    let text = |version: Option<&_>| version.map_or_else(String::new, ToString::to_string);
    [
        ("state", row.state.to_owned()),
        ("wanted", text(row.wanted.as_ref())),
        ("installed", text(row.installed.as_ref())),
        ("method", row.method.map(|method| method.word().to_owned()).unwrap_or_default()),
        ("profile", row.profile.map(|profile| profile.word().to_owned()).unwrap_or_default()),
        ("verdict", row.verdict.words().to_owned()),
    ]
}

impl Metric {
    fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help, samples: String::new() }
    }

    fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}=\"{}\"", escaped(value))).collect();
        let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
        // Writing to a string cannot fail.
        let _ = writeln!(self.samples, "{}{labels} {value}", self.name);
    }

    fn text(&self) -> String {
        format!("# HELP {} {}\n# TYPE {} gauge\n{}", self.name, self.help, self.name, self.samples)
    }
}

/// A label's value as the format wants it: backslash, quote and line break escaped; other control characters shown.
fn escaped(value: &str) -> String {
    terminal::one_printable_line(value).replace('\\', "\\\\").replace('"', "\\\"")
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
