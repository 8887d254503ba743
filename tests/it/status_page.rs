//! The page of `status --html` in a real browser: its script runs under its own policy, sorts, and complains of nothing;
//! both colour schemes, few and many containers, wide and narrow screens.
//!
//! They need Chromium, so they are ignored unless they are asked for; `make test` installs it and asks.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use serde_json::Value;

use crate::gpu_host::PretendedGpuHost;
use crate::ran::Ran;
use crate::resting_fleet::{self, VERSION};
use crate::world::World;

/// What is asked of the page from inside: it clicks a head twice, and writes down what it finds.
const QUESTIONS: &str = r#"
"use strict";
const column = (index) => [...document.querySelectorAll("tbody tr")].map((row) => row.cells[index].textContent);
const heads = [...document.querySelectorAll("thead th")];
const buttons = heads.map((head) => head.querySelector("button"));
const by = (index) => { buttons[index].click(); return column(0); };
const broken = (cell) => {
  const text = document.createRange();
  text.selectNodeContents(cell);
  return text.getClientRects().length > 1;
};
const answers = {
  dark: matchMedia("(prefers-color-scheme: dark)").matches,
  ground: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.body).color,
  width: innerWidth,
  overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  broken_names: [...document.querySelectorAll(".name")].filter(broken).length,
  roles: [...document.querySelectorAll("table, tbody tr, tbody td, tbody th")].every((it) => it.getAttribute("role")),
  focusable: buttons.every((button) => button.tabIndex === 0 && button.type === "button"),
  before: column(0),
  by_verdict: by(3),
  sorted: heads.map((head) => head.getAttribute("aria-sort")),
  by_ctid: by(0),
  by_ctid_again: by(0),
  sorted_again: heads.map((head) => head.getAttribute("aria-sort")),
};
const note = document.createElement("pre");
note.id = "answers";
note.textContent = JSON.stringify(answers);
document.body.append(note);
"#;

/// How the browser is started.
#[derive(Clone, Copy)]
struct Screen {
    width: u32,
    dark: bool,
}

/// A page of so many containers, of which three are not in sync.
fn page(count: usize) -> (World, PathBuf) {
    let (world, host) = (World::new(), PretendedGpuHost::with_one_gpu(VERSION));
    resting_fleet::make(&world, count);
    world.run_on(&host, &["apply", "--all"]).ok();
    fs_err::remove_dir_all(world.lxcpath().join("1001")).unwrap();
    fs_err::remove_dir_all(world.rootfs(1002).join("usr")).unwrap();
    fs_err::remove_file(world.lxcpath().join("1003/phoenix-nvidia.conf")).unwrap();
    let page = world.scratch("fleet.html");
    world.run_on(&host, &["status", "--html", page.to_str().unwrap()]).ok();
    (world, page)
}

/// The document as it is when its scripts have run; fails when anything was written to the console.
fn document(world: &World, page: &Path, screen: Screen) -> String {
    let profile = format!("--user-data-dir={}", world.scratch("browser").display());
    let size = format!("--window-size={},900", screen.width);
    let scheme = format!("--blink-settings=preferredColorScheme={}", u8::from(!screen.dark));
    let url = format!("file://{}", page.display());
    let fixed =
        ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr", "--dump-dom"];
    // Whatever else a browser remembers lies in a home that goes with the test.
    let home = world.scratch("home");
    fs_err::create_dir_all(&home).unwrap();
    let environment =
        [("HOME", home.clone().into()), ("XDG_CONFIG_HOME", home.clone().into()), ("XDG_CACHE_HOME", home.into())];
    let ran = Ran::of("chromium", &[&fixed[..], &[&profile, &size, &scheme, &url]].concat(), &environment).ok();
    let complaints: Vec<&str> = ran.stderr.lines().filter(|line| line.contains(":CONSOLE")).collect();
    assert!(complaints.is_empty(), "{complaints:?}");
    ran.stdout
}

/// Puts the questions to a copy of the page, whose policy lets them in.
fn answers(world: &World, page: &Path, screen: Screen) -> Value {
    let sum = base64::engine::general_purpose::STANDARD
        .encode(ring::digest::digest(&ring::digest::SHA256, QUESTIONS.as_bytes()));
    let text = fs_err::read_to_string(page).unwrap();
    let text = text.replace("script-src ", &format!("script-src 'sha256-{sum}' "));
    let text = text.replace("</body>", &format!("<script>{QUESTIONS}</script></body>"));
    let copy = world.scratch("asked.html");
    fs_err::write(&copy, text).unwrap();
    let document = document(world, &copy, screen);
    let answers = document.split_once("<pre id=\"answers\">").expect(&document).1.split_once("</pre>").unwrap().0;
    serde_json::from_str(answers).unwrap()
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|it| it.as_str().unwrap_or("none").to_owned()).collect()
}

#[test]
#[ignore = "needs a browser: `apt-get install chromium`, then `cargo test --test it status_page -- --ignored`"]
fn its_script_runs_under_its_own_policy_and_complains_of_nothing() {
    let (world, page) = page(4);
    let document = document(&world, &page, Screen { width: 1400, dark: false });
    assert_eq!(document.matches("<button type=\"button\">").count(), 12, "{document}");
}

#[test]
#[ignore = "needs a browser: `apt-get install chromium`, then `cargo test --test it status_page -- --ignored`"]
fn heads_sort_what_needs_attention_first_and_numbers_as_numbers() {
    let (world, page) = page(200);
    let answers = answers(&world, &page, Screen { width: 1400, dark: false });
    let (before, by_verdict) = (strings(&answers["before"]), strings(&answers["by_verdict"]));
    assert_eq!(before.len(), 200);
    // Wrong ones first, absent ones last, and among equals the order that was before.
    assert_eq!(by_verdict[..3], ["1002", "1003", "1000"]);
    assert_eq!(by_verdict.last().unwrap(), "1001");
    assert_eq!(before[..3], ["1002", "1003", "1000"], "as it is made, what needs attention comes first");
    let mut backwards = before.clone();
    backwards.sort();
    assert_eq!(strings(&answers["by_ctid"]), backwards);
    backwards.reverse();
    assert_eq!(strings(&answers["by_ctid_again"]), backwards);
    let sorted = |name: &str| strings(&answers[name]).into_iter().filter(|it| it != "none").collect::<Vec<_>>();
    assert_eq!(
        (sorted("sorted"), sorted("sorted_again")),
        (vec!["ascending".to_owned()], vec!["descending".to_owned()])
    );
    assert_eq!((&answers["roles"], &answers["focusable"]), (&Value::Bool(true), &Value::Bool(true)));
}

#[test]
#[ignore = "needs a browser: `apt-get install chromium`, then `cargo test --test it status_page -- --ignored`"]
fn it_fits_narrow_screens_and_follows_the_colour_scheme() {
    let (world, page) = page(4);
    let mut seen = String::new();
    for (width, dark) in [(1400, false), (1400, true), (500, false), (500, true), (900, true)] {
        let answers = answers(&world, &page, Screen { width, dark });
        assert_eq!(answers["dark"], dark);
        assert_eq!(answers["width"], width);
        assert_eq!(answers["overflow"], 0, "{width}: {answers}");
        assert_eq!(answers["broken_names"], 0, "{width}: {answers}");
        writeln!(seen, "{dark} {} {}", answers["ground"], answers["ink"]).unwrap();
    }
    let lines: Vec<&str> = seen.lines().collect();
    assert!(lines[1] == lines[4], "{seen}");
    assert!(lines[0] == lines[2] && lines[1] == lines[3] && lines[0] != lines[1], "{seen}");
}
