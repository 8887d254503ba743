//! Downloads that cannot succeed: each says why, and leaves what is worth keeping and nothing else.

use std::time::Duration;

use phoenix_nvidia::cache::{Presence, Settings};
use phoenix_nvidia::error::{Error, Kind};

use super::{ETAG, PATH, World, driver, request, settings, well};
use crate::http_server::{Answer, Asked, HttpServer};

/// What `ensure` says about a server that answers so.
fn failure(world: &World, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Error {
    let server = HttpServer::start(answer);
    world.cache().ensure(&request(&[&server.url(PATH)])).unwrap_err()
}

fn reason(error: &Error) -> &str {
    error.output_text().unwrap_or_default()
}

#[test]
fn a_failed_download_says_so() {
    let world = World::new();
    let server = HttpServer::start(|asked| match &*asked.path {
        "/a.run" => Answer::new(404, ""),
        _ => Answer::new(500, ""),
    });
    let (a, b) = (server.url("/a.run"), server.url("/b.run"));
    let error = world.cache().ensure(&request(&[&a, &b])).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    assert_eq!(error.message(), "driver 580.76.05 could not be downloaded from any of 2 URLs");
    let expected = format!(
        "{a}: the server does not have it (status 404)\n{b}: the server failed (status 500) (attempt 3, the last)"
    );
    assert_eq!(reason(&error), expected);
    let hint = "download it on another machine and run `phoenix-nvidia cache import FILE`";
    assert_eq!(error.hint_text(), Some(hint));
    assert!(world.names().iter().all(|name| !name.contains(".run")), "{:?}", world.names());
}

#[test]
fn no_url_at_all_is_said_too() {
    let world = World::new();
    let error = world.cache().ensure(&request(&[])).unwrap_err();
    assert_eq!(error.message(), "driver 580.76.05 is not in the cache, and no URL is known to download it from");
}

#[test]
fn a_broken_network_keeps_what_came() {
    let world = World::new();
    let bytes = driver("580.76.05").build();
    let error = failure(&world, move |asked| well(asked, &bytes).cut_after(10_000 * (asked.earlier + 1)));
    assert_eq!(error.kind(), Kind::Network);
    assert!(reason(&error).contains("the connection was cut"), "{error:?}");
    // 10 000 bytes from the beginning, then 20 000 more, then 30 000 more.
    let presence = world.cache().look(&request(&[])).unwrap();
    assert_eq!(presence, Presence::Partial { bytes: 60_000 });
}

#[test]
fn a_length_that_is_too_long_is_a_cut() {
    let world = World::new();
    let bytes = driver("580.76.05").build();
    let error = failure(&world, move |_| Answer::new(200, &bytes[..]).header("Content-Length", "99000000"));
    assert_eq!(error.kind(), Kind::Network);
    assert!(reason(&error).contains("the connection was cut"), "{error:?}");
}

#[test]
fn a_length_that_is_too_short_makes_a_file_that_is_refused() {
    let world = World::new();
    let bytes = driver("580.76.05").build();
    let error = failure(&world, move |asked| well(asked, &bytes).header("Content-Length", "200000"));
    assert_eq!(error.kind(), Kind::Verification);
    assert!(reason(&error).contains("the download is refused: its CRC sum is"), "{error:?}");
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn an_answer_without_a_length_that_is_cut_is_refused() {
    let world = World::new();
    let bytes = driver("580.76.05").build();
    let error = failure(&world, move |_| Answer::bare(200, &bytes[..200_000]));
    assert_eq!(error.kind(), Kind::Verification);
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn a_host_whose_name_cannot_be_resolved_is_asked_for_once_in_a_run() {
    let world = World::new();
    let cache = world.cache_with(Settings { pause: Duration::from_secs(60), ..settings() });
    let (a, b) = ("https://nowhere.invalid/a.run", "https://nowhere.invalid/b.run");
    let error = cache.ensure(&request(&[a, b])).unwrap_err();
    assert_eq!(error.kind(), Kind::Network);
    let lines: Vec<&str> = reason(&error).lines().collect();
    assert!(lines[0].starts_with(&format!("{a}: the host's name cannot be resolved")), "{error:?}");
    assert_eq!(lines[1..], [&format!("{b}: not asked, for `nowhere.invalid` has not been found")]);
    assert_eq!(world.heard.sayings(), "");
    let error = cache.ensure(&request(&[b])).unwrap_err();
    assert!(reason(&error).contains("not asked"), "{error:?}");
}

#[test]
fn an_announced_giant_is_refused_before_it_comes() {
    let world = World::new();
    let error = failure(&world, |_| Answer::new(200, "#!").header("Content-Length", "9999999999").endless());
    assert!(reason(&error).contains("the server announces 9536.7 MiB, which is not a run file"), "{error:?}");
}

#[test]
fn an_endless_answer_is_cut_off_at_the_expected_length() {
    let world = World::new();
    let bytes = driver("580.76.05").build();
    let length = bytes.len();
    let error = failure(&world, move |asked| match asked.from {
        None => Answer::file(asked, &bytes, ETAG).cut_after(100_000),
        Some(from) => {
            let range = format!("bytes {from}-{}/{length}", length - 1);
            Answer::bare(206, &bytes[from..]).header("Content-Range", &range).header("ETag", ETAG).endless()
        }
    });
    assert!(reason(&error).contains("the answer goes on after"), "{error:?}");
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn an_endless_web_page_is_refused_by_its_beginning() {
    let world = World::new();
    let error = failure(&world, |_| Answer::bare(200, "<html><body>Sorry, ".repeat(1000)).endless());
    assert!(reason(&error).contains("an HTML page instead of the file"), "{error:?}");
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn a_redirect_to_a_host_without_tls_is_not_followed() {
    let world = World::new();
    let error = failure(&world, |_| Answer::redirect("http://mirror.invalid/x.run"));
    assert!(reason(&error).contains("`http://mirror.invalid/x.run` is not `https`"), "{error:?}");
    let error = failure(&world, |_| Answer::redirect("file:///etc/shadow"));
    assert!(reason(&error).contains("is no"), "{error:?}");
}

#[test]
fn redirects_in_a_circle_have_an_end() {
    let world = World::new();
    let error = failure(&world, |_| Answer::redirect(PATH));
    assert!(reason(&error).contains("more than 10 redirects"), "{error:?}");
}

#[test]
fn a_plain_url_is_refused_unless_its_host_is_allowed() {
    let world = World::new();
    let server = HttpServer::start(|_| Answer::new(200, ""));
    let strict = Settings { allow_http: vec!["localhost".into()], ..settings() };
    let error = world.cache_with(strict).ensure(&request(&[&server.url(PATH)])).unwrap_err();
    assert!(reason(&error).contains("is not listed in `nvidia_driver.allow_http`"), "{error:?}");
    assert!(server.asked().is_empty());
}

#[test]
fn a_wrong_driver_under_the_right_url_is_refused() {
    let world = World::new();
    let bytes = driver("570.133.20").build();
    let error = failure(&world, move |asked| well(asked, &bytes));
    assert_eq!(error.kind(), Kind::Verification);
    assert!(reason(&error).contains("it holds driver 570.133.20, but 580.76.05 is wanted"), "{error:?}");
}

#[test]
fn an_interruption_ends_a_download_and_nothing_gets_its_name() {
    let world = World::new();
    let bytes = driver("580.76.05").build();
    let (arrived, wait) = std::sync::mpsc::channel();
    let server = HttpServer::start(move |asked| {
        arrived.send(()).unwrap();
        well(asked, &bytes).stall_after(100_000)
    });
    let request = request(&[&server.url(PATH)]);
    let patient = Settings { stall_timeout: Duration::from_secs(3600), ..settings() };
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| world.cache_with(patient).ensure(&request).map(drop));
        wait.recv().unwrap();
        world.cancel.request();
        assert_eq!(asking.join().unwrap().unwrap_err().kind(), Kind::Interrupted);
    });
    assert!(!world.path().exists());
}

#[test]
fn offline_nothing_is_asked_and_the_error_says_where_to_put_the_file() {
    let world = World::new();
    let server = HttpServer::start(|_| Answer::new(500, ""));
    let request = request(&[&server.url(PATH)]);
    let error = world.offline().ensure(&request).unwrap_err();
    assert_eq!(error.message(), "driver 580.76.05 is not in the cache, and `offline` forbids a download");
    let place = format!("copy the run file to `{}`", world.path().display());
    assert!(error.hint_text().unwrap().starts_with(&place), "{error:?}");
    world.put(&driver("580.76.05").build());
    world.offline().ensure(&request).unwrap();
    assert!(server.asked().is_empty());
}

#[test]
fn a_full_file_system_is_refused_with_numbers_and_nothing_is_left() {
    let world = World::new();
    fs_err::create_dir_all(world.layout.cache()).unwrap();
    let _small = SmallFileSystem::mounted_on(&world.layout.cache());
    let bytes = driver("580.76.05").build();
    let error = failure(&world, move |asked| well(asked, &bytes));
    assert_eq!(error.kind(), Kind::Host);
    assert!(error.message().contains("but only 0.1 MiB are free"), "{error:?}");
    // Without a length the disk is full before anybody knows.
    let bytes = driver("580.76.05").build();
    let error = failure(&world, move |_| Answer::bare(200, &bytes[..]));
    assert_eq!(error.kind(), Kind::Host);
    assert_eq!(world.names(), [""; 0]);
}

/// A file system of 128 KiB in memory, until it is dropped.
struct SmallFileSystem(std::path::PathBuf);

impl SmallFileSystem {
    fn mounted_on(path: &std::path::Path) -> Self {
        let flags = rustix::mount::MountFlags::empty();
        rustix::mount::mount("tmpfs", path, "tmpfs", flags, c"size=128k").unwrap();
        Self(path.to_owned())
    }
}

impl Drop for SmallFileSystem {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
