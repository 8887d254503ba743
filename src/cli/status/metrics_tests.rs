//! Tests of the metrics: read back by the rules of the text format, they say what was meant.

use std::collections::BTreeMap;

use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::status::{ClusterNode, Nodes, Verdict};

use super::*;
use crate::cli::status::made_up;

/// One line, read by the rules of the format.
struct Sample {
    metric: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Sample {
    fn read(line: &str) -> Self {
        let (metric, mut rest) = line.split_at(line.find(['{', ' ']).unwrap());
        let mut labels = BTreeMap::new();
        while let Some(label) = rest.strip_prefix(['{', ',']) {
            let (key, quoted) = label.split_once("=\"").unwrap();
            let (value, after) = unquoted(quoted);
            assert!(labels.insert(key.to_owned(), value).is_none(), "{key} twice: {line}");
            rest = after;
        }
        let value = rest.strip_prefix('}').unwrap_or(rest).strip_prefix(' ').unwrap().parse().unwrap();
        Self { metric: metric.to_owned(), labels, value }
    }
}

/// A label's value up to its quote, and what stands after that.
fn unquoted(text: &str) -> (String, &str) {
    let (mut value, mut characters) = (String::new(), text.char_indices());
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.push(match characters.next().unwrap().1 {
                'n' => '\n',
                escaped @ ('"' | '\\') => escaped,
                other => panic!("`\\{other}` is no escape"),
            }),
            other => value.push(other),
        }
    }
    panic!("a value without its end: {text}")
}

fn text_of(rows: Vec<ContainerStatus>) -> String {
    of(&made_up::fleet(rows, &NvidiaHost::read().unwrap(), "pve"))
}

fn scraped(rows: Vec<ContainerStatus>) -> Vec<Sample> {
    text_of(rows).lines().filter(|line| !line.starts_with('#')).map(Sample::read).collect()
}

/// The values of a metric by CTID.
fn values(samples: &[Sample], name: &str) -> Vec<(String, f64)> {
    let samples = samples.iter().filter(|sample| sample.metric == name);
    samples.map(|it| (it.labels.get("ctid").cloned().unwrap_or_default(), it.value)).collect()
}

fn expected(values: &[(&str, f64)]) -> Vec<(String, f64)> {
    values.iter().map(|(ctid, value)| ((*ctid).to_owned(), *value)).collect()
}

#[test]
fn every_container_that_can_be_out_of_step_says_whether_it_is() {
    let mut lacking = made_up::row(902, Verdict::OutOfSync);
    lacking.nodes = Some(Nodes { wanted: 5, missing: vec!["/dev/nvidia-uvm".into()] });
    let scrape = scraped(vec![
        made_up::row(901, Verdict::InSync),
        lacking,
        made_up::row(903, Verdict::NoDriverWanted),
        made_up::row(904, Verdict::Absent),
        made_up::row(905, Verdict::NotVerifiedLive),
        made_up::row(906, Verdict::Unknown),
        made_up::row(907, Verdict::Error),
    ]);
    assert_eq!(
        values(&scrape, "phoenix_nvidia_container_in_sync"),
        expected(&[("901", 1.0), ("902", 0.0), ("907", 0.0)]),
        "null in JSON is no sample"
    );
    assert_eq!(values(&scrape, "phoenix_nvidia_container_device_nodes_missing"), expected(&[("902", 1.0)]));
    assert_eq!(values(&scrape, "phoenix_nvidia_container_info").len(), 7);
    assert_eq!(values(&scrape, "phoenix_nvidia_status_timestamp_seconds"), [(String::new(), 1_795_408_496.0)]);
}

#[test]
fn containers_of_other_nodes_alarm_nobody_and_their_nodes_are_reported_once() {
    let on = |id, online| {
        let mut row = made_up::row(id, Verdict::NotKnownFromHere);
        row.cluster_node = Some(ClusterNode { name: "pve2".to_owned(), online });
        row
    };
    let scrape = scraped(vec![on(950, Some(false)), on(951, Some(false)), made_up::row(901, Verdict::InSync)]);
    assert_eq!(values(&scrape, "phoenix_nvidia_container_in_sync"), expected(&[("901", 1.0)]));
    assert_eq!(values(&scrape, "phoenix_nvidia_cluster_node_online"), [(String::new(), 0.0)]);
    let nodes = scrape.iter().filter(|it| it.metric == "phoenix_nvidia_container_info").map(|it| it.labels.get("node"));
    assert_eq!(nodes.map(|node| node.map(String::as_str)).collect::<Vec<_>>(), [Some("pve2"), Some("pve2"), None]);
    assert_eq!(values(&scraped(vec![on(950, None)]), "phoenix_nvidia_cluster_node_online"), []);
}

#[test]
fn labels_hold_whatever_a_name_may_be() {
    let name = "a \"quoted\" \\ name, with {braces}=1";
    let mut row = made_up::row(901, Verdict::InSync);
    row.name = name.to_owned();
    let scrape = scraped(vec![row]);
    let info = scrape.iter().find(|it| it.metric == "phoenix_nvidia_container_info").unwrap();
    assert_eq!(info.labels["name"], name);
    assert_eq!(info.labels["verdict"], "in sync (not verified live)");
}

#[test]
fn a_line_break_in_a_name_begins_no_line() {
    let mut row = made_up::row(901, Verdict::InSync);
    row.name = "a\nphoenix_nvidia_container_in_sync{ctid=\"666\"} 1".to_owned();
    let scrape = scraped(vec![row]);
    assert_eq!(values(&scrape, "phoenix_nvidia_container_in_sync"), expected(&[("901", 1.0)]));
}

#[test]
fn every_metric_has_its_help_and_its_type_once() {
    let text = text_of(vec![made_up::row(901, Verdict::InSync), made_up::row(902, Verdict::InSync)]);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        for kind in ["HELP", "TYPE"] {
            assert_eq!(text.matches(&format!("# {kind} {name} ")).count(), 1, "{kind} {name}");
        }
    }
}
