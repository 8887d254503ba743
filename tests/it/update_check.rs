//! `update-check`: what it finds on a mirror, what it refuses, and what `status` remembers of it.

use serde_json::{Value, json};

use crate::gpu_host::PretendedGpuHost;
use crate::http_server::{Answer, Asked, HttpServer};
use crate::ran::Ran;
use crate::resting_fleet;
use crate::shown::assert_shown;
use crate::test_driver::TestDriver;
use crate::world::World;

const LOADED: &str = "580.76.05";
const NEWER: &str = "580.95.05";
const LATEST: &str = "595.58.03";

/// `releases.json` in NVIDIA's form, for one branch of each type.
fn releases() -> Value {
    let release = |version: &str, date: &str| {
        let url = |of: &str| format!("https://us.download.nvidia.com/tesla/{version}/NVIDIA-Linux-{of}-{version}.run");
        json!({
            "release_version": version, "release_date": date,
            "release_notes": "https://docs.nvidia.com/datacenter/tesla/index.html",
            "architectures": ["x86_64", "aarch64"],
            "runfile_url": { "x86_64": url("x86_64"), "aarch64": url("aarch64") },
        })
    };
    json!({
        "590": { "type": "new feature branch", "driver_info": [release("590.48.01", "2025-12-22")] },
        "580": { "type": "production branch", "driver_info": [release(NEWER, "2025-10-01"), release(LOADED, "2025-08-12")] },
        "535": { "type": "lts branch", "driver_info": [release("535.274.02", "2025-10-01")] },
    })
}

/// `latest.txt` in NVIDIA's form.
fn latest(version: &str) -> String {
    let architecture = std::env::consts::ARCH;
    format!("{version} {version}/NVIDIA-Linux-{architecture}-{version}.run\n")
}

/// A mirror that answers with these two texts.
fn mirror(latest: impl Into<String>, releases: impl Into<String>) -> HttpServer {
    let (latest, releases) = (latest.into(), releases.into());
    HttpServer::start(move |asked| match asked.path.as_str() {
        "/nvidia/latest.txt" => Answer::new(200, latest.as_str()),
        "/nvidia/releases.json" => Answer::new(200, releases.as_str()),
        _ => Answer::new(404, "not here"),
    })
}

fn well() -> HttpServer {
    mirror(latest(LATEST), releases().to_string())
}

/// A world that asks these servers before NVIDIA.
fn world(mirrors: &[&HttpServer]) -> World {
    let world = World::new();
    let urls: Vec<String> = mirrors.iter().map(|server| server.url("/nvidia")).collect();
    world.write_hypervisor(&json!({ "nvidia_driver": { "mirrors": urls, "allow_http": ["127.0.0.1"] } }));
    world
}

/// Runs the program on a host with this module, where no other host than the loopback can be reached.
fn run(world: &World, host: &PretendedGpuHost, arguments: &[&str]) -> Ran {
    // Port 9 is `discard`, which nobody serves.
    world.run_with(Some(host), arguments, &[("https_proxy", "http://127.0.0.1:9".into())])
}

fn check(mirrors: &[&HttpServer], loaded: &str) -> (World, Ran) {
    let (world, host) = (world(mirrors), PretendedGpuHost::with_one_gpu(loaded));
    let ran = run(&world, &host, &["update-check"]);
    (world, ran)
}

#[test]
fn a_newer_driver_of_the_loaded_branch_is_exit_code_4_and_nothing_is_downloaded() {
    let (server, host) = (well(), PretendedGpuHost::with_one_gpu(LOADED));
    let world = world(&[&server]);
    let shown = run(&world, &host, &["update-check"]).exits(4);
    assert_shown("update_check", &world, &["update-check"], &shown);
    let json = run(&world, &host, &["update-check", "--output", "json"]).exits(4);
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((&json["loaded"], &json["update_available"]), (&json!(LOADED), &json!(true)));
    let branch = json!({
        "newest_of": "branch", "version": NEWER, "type": "production branch", "released": "2025-10-01",
        "gpus": "supported", "verdict": "newer", "reason": null,
    });
    assert_eq!(json["offers"][0], branch);
    let asked: Vec<String> = server.asked().into_iter().map(|asked| asked.path).collect();
    let each = ["/nvidia/latest.txt".to_owned(), "/nvidia/releases.json".to_owned()];
    assert_eq!(asked, [&each[..], &each].concat());
    let remembered = world.base().join("lib/known-releases.json");
    assert!(fs_err::read_to_string(&remembered).unwrap().contains(NEWER));
    fs_err::remove_file(remembered).unwrap();
    assert_eq!(fs_err::read_dir(world.base().join("lib")).unwrap().count(), 0, "nothing else is kept");
    assert_eq!(fs_err::read_dir(world.cache()).unwrap().count(), 0, "nor downloaded");
}

#[test]
fn without_a_newer_one_the_exit_code_is_0() {
    let (_, ran) = check(&[&well()], NEWER);
    let stdout = ran.ok().stdout;
    assert!(stdout.contains("branch 580  580.95.05  production branch  2025-10-01  supported  loaded"), "{stdout}");
    let (_, ran) = check(&[&well()], "580.126.20");
    assert!(ran.ok().stdout.contains("older than the loaded one"));
    let (_, ran) = check(&[&well()], "575.57.08");
    assert!(ran.ok().stderr.contains("note: NVIDIA's lists name no release of branch 575\n"));
}

#[test]
fn what_cannot_be_remembered_is_a_warning() {
    let (server, host) = (well(), PretendedGpuHost::with_one_gpu(LOADED));
    let world = world(&[&server]);
    fs_err::create_dir_all(world.base().join("lib/known-releases.json/in-the-way")).unwrap();
    let ran = run(&world, &host, &["update-check"]).exits(4);
    assert!(ran.stderr.contains("warning: what was found is not remembered for `status`: "), "{}", ran.stderr);
    assert!(!run(&world, &host, &["status", "--prometheus", "-"]).stdout.contains("update_available"));
}

#[test]
fn without_a_module_it_is_an_error_of_the_host_and_nobody_is_asked() {
    let server = well();
    let ran = world(&[&server]).run(&["update-check"]).exits(10);
    assert!(ran.stderr.starts_with("error: no NVIDIA kernel module is loaded on this host\n"), "{}", ran.stderr);
    assert!(server.asked().is_empty());
}

#[test]
fn offline_nobody_is_asked() {
    let (server, host) = (well(), PretendedGpuHost::with_one_gpu(LOADED));
    let world = world(&[]);
    let mirrors = [server.url("/nvidia")];
    let offline = json!({ "mirrors": mirrors, "allow_http": ["127.0.0.1"], "offline": true });
    world.write_hypervisor(&json!({ "nvidia_driver": offline }));
    let ran = run(&world, &host, &["update-check"]).exits(8);
    assert_shown("update_check_offline", &world, &["update-check"], &ran);
    assert!(server.asked().is_empty());
}

#[test]
fn a_server_that_is_away_is_an_error_of_the_network_with_every_place_that_was_asked() {
    let gone = well();
    let world = world(&[&gone]);
    drop(gone);
    let ran = run(&world, &PretendedGpuHost::with_one_gpu(LOADED), &["update-check"]).exits(8);
    assert!(ran.stderr.starts_with("error: NVIDIA's lists of releases could not be read\n"), "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("/nvidia/latest.txt`: the connection was refused").count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("| `https://download.nvidia.com/XFree86/Linux-"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("| `https://docs.nvidia.com/datacenter/tesla/drivers/releases.json`"),
        "{}",
        ran.stderr
    );
    assert!(!world.base().join("lib/known-releases.json").exists());
}

#[test]
fn the_next_mirror_is_asked_where_one_lies_or_has_nothing() {
    let (empty, lying) = (HttpServer::start(|_| Answer::new(404, "")), mirror("<!DOCTYPE html>", "<html>Sign in"));
    let (_, ran) = check(&[&empty, &lying, &well()], LOADED);
    let stderr = ran.exits(4).stderr;
    assert_eq!(stderr.matches("it is an HTML page").count(), 2, "{stderr}");
    assert!(!stderr.contains("does not have it"), "{stderr}");
}

#[test]
fn what_is_no_list_is_refused() {
    for (latest, releases, reason) in [
        ("<html>Sign in</html>", "<!DOCTYPE html>", "it is an HTML page"),
        ("", "", "it is not JSON with a key for each branch"),
        ("\u{0}\u{1}", "[1, 2", "it is not a line such as"),
        ("580.95.05 ../../etc/passwd", "{}", "it names no release for this machine"),
        ("580.95.05\u{1b}[2J\n", "{ \"580\": \"\\u001b]0;pwned\\u0007\" }", "it names no release for this machine"),
    ] {
        let (world, ran) = check(&[&mirror(latest, releases)], LOADED);
        let stderr = ran.exits(8).stderr;
        assert!(stderr.contains(reason), "{stderr}");
        assert!(!stderr.contains(['\u{1b}', '\u{7}', '\u{0}']), "{stderr:?}");
        assert!(!world.base().join("lib/known-releases.json").exists());
    }
}

#[test]
fn lists_that_never_end_are_cut_off() {
    let endless = HttpServer::start(|asked| Answer::bare(200, endless_beginning(asked)).endless());
    let (_, ran) = check(&[&endless], LOADED);
    let stderr = ran.exits(8).stderr;
    assert!(stderr.contains("latest.txt`: the answer is longer than 4096 bytes"), "{stderr}");
    assert!(stderr.contains("releases.json`: the answer is longer than 1048576 bytes"), "{stderr}");
}

fn endless_beginning(asked: &Asked) -> String {
    if asked.path.ends_with(".txt") { latest(LATEST) } else { "[".repeat(1 << 16) }
}

#[test]
fn entries_that_are_not_understood_are_counted_and_never_printed() {
    let mut list = releases();
    let hostile = json!({ "release_version": "580.\u{1b}[2J", "architectures": ["x86_64", "aarch64"] });
    list["580"]["driver_info"].as_array_mut().unwrap().push(hostile);
    list["580"]["type"] = json!("\u{1b}[31mproduction");
    list["590"]["driver_info"][0]["release_date"] = json!("\u{1b}[2J2025");
    let (_, ran) = check(&[&mirror(latest(LATEST), list.to_string())], LOADED);
    let ran = ran.exits(4);
    assert!(ran.stderr.contains("warning: `releases.json`: 1 entry names no version of its branch"), "{}", ran.stderr);
    assert!(!ran.stdout.contains('\u{1b}') && !ran.stderr.contains('\u{1b}'), "{:?}{:?}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("branch 580  580.95.05   -  "), "{}", ran.stdout);
}

#[test]
fn one_list_alone_decides_where_it_can() {
    // Without the other one there is a warning, whatever it says.
    let (_, ran) = check(&[&mirror(latest(NEWER), "gone")], LOADED);
    assert!(ran.exits(4).stderr.contains("releases.json`: it is not JSON"));
    let (_, ran) = check(&[&mirror("gone", releases().to_string())], LOADED);
    assert!(ran.exits(4).stderr.contains("latest.txt`: it is not a line"));
    let (_, ran) = check(&[&mirror(latest(LATEST), "gone")], LOADED);
    let ran = ran.exits(8);
    assert!(ran.stdout.contains(LATEST), "what is known is shown: {}", ran.stdout);
    let message = "error: whether there is a newer driver of branch 580 could not be found out\n";
    assert!(ran.stderr.contains(message), "{}", ran.stderr);
}

#[test]
fn a_branch_that_drops_a_gpu_of_this_host_is_not_recommended() {
    let list = r#"{ "chips": [ { "devid": "0x1B80", "name": "NVIDIA GeForce GTX 1080", "legacybranch": "580.xx" } ] }"#;
    let (server, host) = (well(), PretendedGpuHost::with_one_gpu(LOADED));
    let world = world(&[&server]);
    host.sh("mount -t tmpfs devices /sys/bus/pci/devices; mkdir /sys/bus/pci/devices/0000:01:00.0; \
         echo 0x1b80 > /sys/bus/pci/devices/0000:01:00.0/device")
        .ok();
    TestDriver::new("590.44.01").supported_gpus(list).write_into(&world.cache());
    run(&world, &host, &["store", "extract", "590.44.01"]).ok();
    let ran = run(&world, &host, &["update-check"]).exits(4);
    assert_shown("update_check_of_a_gpu_that_is_dropped", &world, &["update-check"], &ran);
}

#[test]
fn status_says_without_the_network_what_was_found_last() {
    let (server, host) = (well(), PretendedGpuHost::with_one_gpu(LOADED));
    let world = world(&[&server]);
    resting_fleet::configure(&world, 1);
    world.write_hypervisor(&json!({
        "nvidia_driver": { "mirrors": [server.url("/nvidia")], "allow_http": ["127.0.0.1"] },
    }));
    let said = |host: &PretendedGpuHost| run(&world, host, &["status"]).ok().stderr;
    let metrics = |host: &PretendedGpuHost| run(&world, host, &["status", "--prometheus", "-"]).ok().stdout;
    assert!(!said(&host).contains("NVIDIA has published"));
    assert!(!metrics(&host).contains("phoenix_nvidia_update_available"));
    run(&world, &host, &["update-check"]).exits(4);
    drop(server);
    let line =
        "note: NVIDIA has published driver 580.95.05 of branch 580, and 580.76.05 is loaded (`update-check` of 20";
    assert!(said(&host).contains(line), "{}", said(&host));
    let sample = |value: u8, loaded: &str, newest: &str| {
        format!("\nphoenix_nvidia_update_available{{loaded=\"{loaded}\",newest=\"{newest}\"}} {value}\n")
    };
    assert!(metrics(&host).contains(&sample(1, LOADED, NEWER)), "{}", metrics(&host));
    let upgraded = PretendedGpuHost::with_one_gpu(NEWER);
    assert!(!said(&upgraded).contains("NVIDIA has published"));
    assert!(metrics(&upgraded).contains(&sample(0, NEWER, NEWER)), "{}", metrics(&upgraded));
    let elsewhere = PretendedGpuHost::with_one_gpu("570.133.20");
    assert!(!metrics(&elsewhere).contains("phoenix_nvidia_update_available"));
}
