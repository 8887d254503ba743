//! `ID.conf` files as pve-container 6.1.10 wrote them, read and edited.

use super::*;

fn recorded(name: &str) -> ConfigFile {
    let path = format!("{}/tests/fixtures/pct/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = fs_err::read_to_string(path).unwrap();
    // The first two lines say what recorded it, and by which command.
    ConfigFile::new(text.splitn(3, '\n').nth(2).unwrap())
}

#[test]
fn what_waits_for_the_next_start_is_reported_from_what_is() {
    let config = recorded("conf-pending.txt");
    assert_eq!(config.value("dev0"), Some("/dev/labnv/nvidia0,mode=0666"));
    let pending = config.pending();
    assert_eq!(pending.keys().collect::<Vec<_>>(), ["dev0", "dev4"]);
    let later = config.after_restart();
    assert_eq!(later["dev0"], "/dev/labnv/nvidia0,mode=0600");
    assert!(!later.contains_key("dev4") && later.contains_key("dev5"));
    assert!(config.snapshots().is_empty() && config.is_unprivileged());
}

#[test]
fn a_snapshots_section_is_not_the_containers() {
    let config = recorded("conf-snapshot-appended.txt");
    assert_eq!(config.snapshots(), ["snap1"]);
    assert_eq!(config.raw().count(), 0, "a line behind the section's name is the snapshot's");
    assert_eq!((config.value("parent"), config.value("snaptime")), (Some("snap1"), None));
}

#[test]
fn a_line_is_added_before_the_first_section_and_no_other_byte_changes() {
    let config = recorded("conf-snapshot-appended.txt");
    let line = RawLine::new("lxc.cap.drop", "mknod");
    let edited = config.edited(&[], std::slice::from_ref(&line));
    let (before, after) = config.text().split_once("\n[snap1]").unwrap();
    assert_eq!(edited, format!("{before}lxc.cap.drop: mknod\n\n[snap1]{after}"));
    assert_eq!(ConfigFile::new(edited).edited(std::slice::from_ref(&line), &[]), config.text());
}

#[test]
fn lines_of_the_main_section_go_from_anywhere_in_it_and_foreign_ones_stay() {
    let config = recorded("conf-raw-lines.txt");
    let lines: Vec<RawLine> = config.raw().collect();
    assert_eq!(lines.len(), 4);
    let edited = config.edited(&lines[..2], &[]);
    let kept: Vec<&str> =
        config.text().lines().filter(|line| !line.contains("nvidia0") && !line.contains("195")).collect();
    assert_eq!(edited.lines().collect::<Vec<_>>(), kept);
    assert!(edited.starts_with("# a comment in the middle\n") && edited.contains("unknownkey: 1\n"));
}

#[test]
fn a_file_without_an_end_of_line_or_without_a_line_is_edited_too() {
    let line = [RawLine::new("lxc.a", "b")];
    assert_eq!(ConfigFile::new("memory: 5").edited(&[], &line), "memory: 5\nlxc.a: b\n");
    assert_eq!(ConfigFile::new("").edited(&[], &line), "lxc.a: b\n");
    assert_eq!(ConfigFile::new("[s]\nlxc.a: b\n").edited(&line, &line), "lxc.a: b\n[s]\nlxc.a: b\n");
}

#[test]
fn a_snapshot_has_its_description_and_is_whole_where_it_has_no_state() {
    let config = recorded("conf-snapshot-described.txt");
    let before = Snapshot { description: "before gpu".to_owned(), is_whole: true };
    assert_eq!((config.snapshot("snap1"), config.snapshot("snap")), (Some(before), None));
    let unfinished = ConfigFile::new("parent: a\n\n[a]\nsnapstate: prepare\n\n[b]\n#of b\nsnaptime: 1\n");
    assert_eq!(unfinished.snapshot("a"), Some(Snapshot { description: String::new(), is_whole: false }));
    assert!(unfinished.snapshot("b").unwrap().is_whole);
}

#[test]
fn raw_lines_are_read_in_both_forms_and_nothing_else_is_one() {
    assert_eq!(
        RawLine::parse("lxc.mount.entry = a b none bind 0 0\n"),
        Some(RawLine::new("lxc.mount.entry", "a b none bind 0 0"))
    );
    assert_eq!(RawLine::parse("lxc.environment: A=b:c"), Some(RawLine::new("lxc.environment", "A=b:c")));
    for other in ["memory: 512", "#lxc.a: b", "lxc", "[lxc.a]", ""] {
        assert_eq!(RawLine::parse(other), None, "{other}");
    }
}

proptest::proptest! {
    #[test]
    fn whatever_is_in_a_file_editing_nothing_changes_no_line(text in "([a-z:#\\[\\] .]{0,12}\n){0,8}") {
        let edited = ConfigFile::new(text.clone()).edited(&[], &[]);
        let lines = |text: &str| text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        proptest::prop_assert_eq!(lines(&edited), lines(&text));
        proptest::prop_assert_eq!(ConfigFile::new(edited).snapshots(), ConfigFile::new(text).snapshots());
    }
}
