//! Tests of the page: what others wrote stays text, and nothing is loaded.

use phoenix_nvidia::host::NvidiaHost;
use phoenix_nvidia::status::{ClusterNode, Nodes};

use super::*;
use crate::cli::status::made_up;

const HOSTILE: &str = "<script>alert(1)</script>\" onload='x' &amp; \u{1b}[2J</title>";

fn page(rows: Vec<ContainerStatus>, host_name: &str) -> String {
    let host = NvidiaHost::read().unwrap();
    of(&made_up::fleet(rows, &host, host_name))
}

#[test]
fn what_containers_and_configuration_say_stays_text() {
    let mut row = made_up::row(901, Verdict::OutOfSync);
    row.name = HOSTILE.to_owned();
    row.gpus = vec![HOSTILE.to_owned()];
    row.reason = Some(HOSTILE.to_owned());
    row.hint = Some(format!("`{HOSTILE}` {HOSTILE}"));
    let page = page(vec![row], HOSTILE);
    assert_eq!(page.matches("<script").count(), 1, "{page}");
    assert_eq!(page.matches("</title>").count(), 1, "{page}");
    assert!(!page.contains("\" onload") && !page.contains('\u{1b}'), "{page}");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{page}");
}

#[test]
fn nothing_is_loaded_from_anywhere_and_no_style_stands_outside_the_sheet() {
    let page = page(vec![made_up::row(901, Verdict::InSync)], "pve");
    for word in ["http://", "https://", "src=", "href=", "@import", "url(", "style=", "onclick="] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn the_policy_names_the_sums_of_this_style_and_this_script() {
    let page = page(Vec::new(), "pve");
    let between = |start: &str, end: &str| page.split_once(start).unwrap().1.split_once(end).unwrap().0.to_owned();
    for text in [between("<style>", "</style>"), between("<script>", "</script>")] {
        let sum = STANDARD.encode(ring::digest::digest(&ring::digest::SHA256, text.as_bytes()));
        assert!(page.contains(&format!("'sha256-{sum}'")), "{sum}");
    }
}

#[test]
fn every_row_has_a_cell_for_every_column() {
    let mut row = made_up::row(901, Verdict::OutOfSync);
    row.nodes = Some(Nodes { wanted: 5, missing: vec!["/dev/nvidia-uvm".into()] });
    let page = page(vec![row], "pve");
    let body = page.split_once("<tbody").unwrap().1;
    assert_eq!(body.matches("role=\"cell\"").count() + body.matches("role=\"rowheader\"").count(), COLUMNS.len());
    let labels: Vec<&str> = body.split("data-label=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
    assert_eq!(labels, COLUMNS);
    assert!(body.contains("1 of 5 missing"), "{body}");
}

#[test]
fn the_nodes_of_a_cluster_are_a_column_where_a_row_names_one() {
    let mut row = made_up::row(950, Verdict::NotKnownFromHere);
    row.cluster_node = Some(ClusterNode { name: "pve2<b>".to_owned(), online: Some(false) });
    let page = page(vec![made_up::row(901, Verdict::InSync), row], "pve");
    let body = page.split_once("<tbody").unwrap().1;
    assert_eq!(page.matches("role=\"columnheader\"").count(), COLUMNS.len() + 1);
    assert_eq!(body.matches("data-label=\"On node\"").count(), 2, "{body}");
    assert!(body.contains("pve2&lt;b&gt; (offline)") && body.contains(">not known from here</span>"), "{body}");
    assert!(page.contains("no driver wanted, not configured, absent, or on another node"), "{page}");
}

#[test]
fn a_verdict_is_a_word_and_not_only_a_colour() {
    for (verdict, class) in [
        (Verdict::OutOfSync, "bad"),
        (Verdict::InSync, "good unasked"),
        (Verdict::Verified, "good"),
        (Verdict::Absent, "quiet"),
    ] {
        let page = page(vec![made_up::row(901, verdict)], "pve");
        let badge = format!("<span class=\"badge {class}\">{}</span>", verdict.words());
        assert!(page.contains(&badge), "{badge}");
    }
}

#[test]
fn what_needs_attention_comes_first_and_a_wall_gets_it_anew() {
    let host = NvidiaHost::read().unwrap();
    let rows = vec![made_up::row(901, Verdict::InSync), made_up::row(902, Verdict::OutOfSync)];
    let mut fleet = made_up::fleet(rows, &host, "pve");
    let page = of(&fleet);
    assert!(page.find(">902</th>") < page.find(">901</th>"), "{page}");
    assert!(!page.contains("http-equiv=\"refresh\""));
    fleet.refresh = Some(30);
    assert!(of(&fleet).contains("<meta http-equiv=\"refresh\" content=\"30\">"));
}
