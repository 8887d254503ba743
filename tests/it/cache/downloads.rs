//! Downloads that go wrong on the way and come right in the end.

use std::time::Duration;

use phoenix_nvidia::cache::{Origin, Presence, Settings};
use phoenix_nvidia::error::Kind;
use phoenix_nvidia::event::{Activity, Event};

use super::{ETAG, PATH, World, driver, request, settings, sha256, well};
use crate::http_server::{Answer, HttpServer};

#[test]
fn a_download_is_checked_recorded_and_not_made_again() {
    let bytes = driver("580.76.05").build();
    let (world, file) = (World::new(), bytes.clone());
    let server = HttpServer::start(move |asked| well(asked, &file));
    let request = request(&[&server.url(PATH)]);
    assert_eq!(world.cache().look(&request).unwrap(), Presence::Absent);
    let got = world.cache().ensure(&request).unwrap();
    assert_eq!((got.path(), got.bytes(), got.sha256()), (&*world.path(), bytes.len() as u64, sha256(&bytes)));
    assert_eq!((got.version().as_str(), got.architecture()), ("580.76.05", "x86_64"));
    assert_eq!(*got.origin(), Origin::Embedded);
    assert_eq!(world.names(), [&PATH[1..], "SHA256SUMS", "stamps.json"]);
    let asked = server.asked().len();
    assert!(
        matches!(world.cache().look(&request).unwrap(), Presence::Trusted { sha256: sum, .. } if sum == sha256(&bytes))
    );
    assert_eq!(world.cache().ensure(&request).unwrap().sha256(), sha256(&bytes));
    assert_eq!(server.asked().len(), asked);
    assert!(server.asked()[0].user_agent.starts_with("phoenix-nvidia/"));
}

#[test]
fn the_payload_of_what_was_got_can_be_unpacked() {
    let bytes = driver("580.76.05").build();
    let world = World::new();
    let server = HttpServer::start(move |asked| well(asked, &bytes));
    let got = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
    let mut archive = tar::Archive::new(got.archive().unwrap());
    let paths: Vec<_> = archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert_eq!(paths, ["./nvidia-installer", "./32/libcuda.so"].map(std::path::Path::new));
}

#[test]
fn a_cut_connection_is_continued_where_it_was_cut() {
    let bytes = driver("580.76.05").build();
    let (world, file) = (World::new(), bytes.clone());
    let server = HttpServer::start(move |asked| match asked.earlier {
        0 => well(asked, &file).cut_after(100_000),
        _ => well(asked, &file),
    });
    let got = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
    assert_eq!(got.sha256(), sha256(&bytes));
    let asked = server.asked_for(".run");
    assert_eq!((asked[0].from, asked[1].from), (None, Some(100_000)));
    assert_eq!(asked[1].if_range.as_deref(), Some(ETAG));
    assert!(world.heard.sayings().contains("the connection was cut; retrying"), "{}", world.heard.sayings());
}

#[test]
fn a_later_process_continues_what_an_earlier_one_began() {
    let bytes = driver("580.76.05").build();
    let world = World::new();
    let server = HttpServer::start(move |asked| match asked.earlier {
        0 => well(asked, &bytes).cut_after(100_000),
        _ => well(asked, &bytes),
    });
    let request = request(&[&server.url(PATH)]);
    let once = Settings { attempts: 1, ..settings() };
    assert_eq!(world.cache_with(once).ensure(&request).unwrap_err().kind(), Kind::Network);
    assert_eq!(world.cache().look(&request).unwrap(), Presence::Partial { bytes: 100_000 });
    world.cache().ensure(&request).unwrap();
    assert_eq!(server.asked_for(".run")[1].from, Some(100_000));
}

#[test]
fn a_server_that_ignores_ranges_is_listened_to_from_the_beginning() {
    let bytes = driver("580.76.05").build();
    let (world, file) = (World::new(), bytes.clone());
    let server = HttpServer::start(move |asked| match asked.earlier {
        _ if asked.path.ends_with("sum") => Answer::new(404, ""),
        0 => Answer::new(200, &file[..]).header("ETag", ETAG).cut_after(100_000),
        _ => Answer::new(200, &file[..]).header("ETag", ETAG),
    });
    let got = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
    assert_eq!(got.sha256(), sha256(&bytes));
}

#[test]
fn a_server_that_goes_on_at_another_place_is_asked_from_the_beginning() {
    let bytes = driver("580.76.05").build();
    let (world, file) = (World::new(), bytes.clone());
    let server = HttpServer::start(move |asked| match (asked.from, asked.earlier) {
        (None, 0) => well(asked, &file).cut_after(100_000),
        (Some(from), _) => Answer::part(&file, from - 1, from - 1, ETAG),
        _ => well(asked, &file),
    });
    let got = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
    assert_eq!(got.sha256(), sha256(&bytes));
    assert!(world.heard.sayings().contains("the server went on at another place"));
}

#[test]
fn a_file_that_changes_between_two_ranges_is_got_anew() {
    for honest in [true, false] {
        let (old, new) = (driver("580.76.05").build(), driver("580.76.05").member("more", 0o644, "new").build());
        let (world, file) = (World::new(), new.clone());
        let server = HttpServer::start(move |asked| match (asked.from, asked.earlier) {
            (None, 0) => well(asked, &old).cut_after(100_000),
            // A server that has no notion of `If-Range` sends the rest of another file.
            (Some(from), _) if !honest => Answer::part(&file, from, from, "\"two\""),
            _ if asked.path.ends_with("sum") => Answer::new(404, ""),
            _ => Answer::file(asked, &file, "\"two\""),
        });
        let got = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
        assert_eq!(got.sha256(), sha256(&new), "honest: {honest}");
    }
}

#[test]
fn a_damaged_beginning_from_an_earlier_download_is_not_kept() {
    let bytes = driver("580.76.05").build();
    let (world, file) = (World::new(), bytes.clone());
    let server = HttpServer::start(move |asked| match asked.earlier {
        0 => well(asked, &file).cut_after(100_000),
        _ => well(asked, &file),
    });
    let request = request(&[&server.url(PATH)]);
    world.cache_with(Settings { attempts: 1, ..settings() }).ensure(&request).unwrap_err();
    // As after a power failure: the length is right, the bytes are not.
    let partial = world.beside(".partial");
    let mut begun = fs_err::read(&partial).unwrap();
    begun[50_000..60_000].fill(0);
    fs_err::write(&partial, begun).unwrap();
    assert_eq!(world.cache().ensure(&request).unwrap().sha256(), sha256(&bytes));
    assert!(world.heard.sayings().contains("downloading it again"), "{}", world.heard.sayings());
}

#[test]
fn a_server_in_trouble_is_asked_again() {
    for status in [500, 503, 429] {
        let bytes = driver("580.76.05").build();
        let world = World::new();
        let server = HttpServer::start(move |asked| match asked.earlier {
            0 => Answer::new(status, "busy").header("Retry-After", "0"),
            _ => well(asked, &bytes),
        });
        world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
        assert_eq!(server.asked_for(".run").len(), 2, "{status}");
    }
}

#[test]
fn a_stalled_download_goes_on_with_a_new_connection() {
    let bytes = driver("580.76.05").build();
    let world = World::new();
    let server = HttpServer::start(move |asked| match asked.earlier {
        0 => well(asked, &bytes).stall_after(100_000),
        _ => well(asked, &bytes),
    });
    let impatient = Settings { stall_timeout: Duration::from_millis(200), ..settings() };
    world.cache_with(impatient).ensure(&request(&[&server.url(PATH)])).unwrap();
    assert_eq!(server.asked_for(".run")[1].from, Some(100_000));
    assert!(world.heard.sayings().contains("no data for 0.2 s"), "{}", world.heard.sayings());
}

#[test]
fn what_one_url_does_not_have_the_next_one_may_have() {
    let bytes = driver("580.76.05").build();
    let world = World::new();
    let server = HttpServer::start(move |asked| match &*asked.path {
        "/missing.run" => Answer::new(404, "<html>no such file</html>"),
        "/portal.run" => Answer::new(200, "<!DOCTYPE html>please log in"),
        "/empty.run" => Answer::new(200, ""),
        "/other.run" => Answer::new(200, "\x7fELF"),
        _ => well(asked, &bytes),
    });
    let urls = ["/missing.run", "/portal.run", "/empty.run", "/other.run", PATH].map(|path| server.url(path));
    world.cache().ensure(&request(&urls.each_ref().map(String::as_str))).unwrap();
    // None of these is asked twice, and nothing is left of what they sent.
    assert_eq!(server.asked_for(".run").len(), urls.len());
    assert_eq!(world.names(), [&PATH[1..], "SHA256SUMS", "stamps.json"]);
}

#[test]
fn progress_ends_with_the_whole_file() {
    let bytes = driver("580.76.05").build();
    let (world, length) = (World::new(), bytes.len() as u64);
    let server = HttpServer::start(move |asked| well(asked, &bytes));
    world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
    for wanted in [Activity::Download, Activity::Verify] {
        let events = world.heard.events();
        let last =
            events.iter().rfind(|event| matches!(event, Event::Progress { activity, .. } if *activity == wanted));
        let subject = PATH[1..].to_owned();
        let expected = Event::Progress {
            container: None,
            activity: wanted,
            subject,
            done: length,
            total: Some(length),
            finished: true,
        };
        assert_eq!(last, Some(&expected));
    }
}

#[test]
fn an_allowed_redirect_is_followed() {
    let bytes = driver("580.76.05").build();
    let world = World::new();
    let server = HttpServer::start(move |asked| match &*asked.path {
        "/latest.run" => Answer::redirect("there/NVIDIA.run"),
        _ => well(asked, &bytes),
    });
    world.cache().ensure(&request(&[&server.url("/latest.run")])).unwrap();
    assert_eq!(server.asked_for("/there/NVIDIA.run").len(), 1);
}
