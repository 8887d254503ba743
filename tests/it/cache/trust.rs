//! Which sum decides, and what happens when it says no.

use phoenix_nvidia::cache::{ExpectedSum, Origin, Presence, Request, Settings};
use phoenix_nvidia::driver::Sha256;
use phoenix_nvidia::error::Kind;

use super::{ETAG, PATH, World, driver, request, settings, sha256};
use crate::http_server::{Answer, HttpServer};

/// A server with a good file and this text as its published sum.
fn publishing(sum: String) -> (Vec<u8>, HttpServer) {
    let bytes = driver("580.76.05").build();
    let file = bytes.clone();
    let server = HttpServer::start(move |asked| match asked.path.ends_with(".sha256sum") {
        true => Answer::new(200, sum.as_bytes()),
        false => Answer::file(asked, &file, ETAG),
    });
    (bytes, server)
}

fn good_sum() -> Sha256 {
    sha256(&driver("580.76.05").build())
}

fn wrong_sum() -> Sha256 {
    sha256(b"something else")
}

fn given(sum: Sha256) -> Option<ExpectedSum> {
    Some(ExpectedSum { sum, origin: "`nvidia_runfile_sha256`".into() })
}

#[test]
fn a_published_sum_decides_with_and_without_the_name() {
    for text in [format!("{}  {}\n", good_sum(), &PATH[1..]), format!("{}\n", good_sum())] {
        let (world, (_, server)) = (World::new(), publishing(text));
        let got = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
        assert_eq!(*got.origin(), Origin::Published(format!("{}.sha256sum", server.url(PATH))));
    }
}

#[test]
fn a_published_sum_that_does_not_fit_refuses_the_file_and_leaves_nothing() {
    let (world, (_, server)) = (World::new(), publishing(format!("{}  {}\n", wrong_sum(), &PATH[1..])));
    let error = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap_err();
    assert_eq!(error.kind(), Kind::Verification);
    let url = server.url(PATH);
    let expected = format!(
        "{url}: the download is refused: its SHA-256 sum is {}, but {} is expected according to \
         `{url}.sha256sum`",
        good_sum(),
        wrong_sum()
    );
    assert_eq!(error.output_text(), Some(&*expected));
    assert_eq!(world.names(), [""; 0]);
}

#[test]
fn a_published_page_that_is_no_sum_leaves_the_decision_to_the_file() {
    for text in ["<html>404</html>".to_owned(), format!("{}  other.run\n", wrong_sum()), "x".repeat(100_000)] {
        let (world, (_, server)) = (World::new(), publishing(text));
        let got = world.cache().ensure(&request(&[&server.url(PATH)])).unwrap();
        assert_eq!(*got.origin(), Origin::Embedded);
        assert!(world.heard.sayings().contains("there is no published sum at"), "{}", world.heard.sayings());
    }
}

#[test]
fn the_requested_sum_decides_before_all_others() {
    let (world, (_, server)) = (World::new(), publishing(wrong_sum().to_string()));
    let mut request = request(&[&server.url(PATH)]);
    request.sha256 = given(good_sum());
    let got = world.cache().ensure(&request).unwrap();
    assert_eq!(*got.origin(), Origin::Given("`nvidia_runfile_sha256`".into()));
    assert!(server.asked_for(".sha256sum").is_empty());
    request.sha256 = given(wrong_sum());
    assert!(matches!(world.cache().look(&request).unwrap(), Presence::Unchecked { .. }));
    let error = world.cache().ensure(&request).unwrap_err();
    assert!(error.message().ends_with("is expected according to `nvidia_runfile_sha256`"), "{error:?}");
}

#[test]
fn a_wrong_sum_in_one_entry_takes_the_good_file_from_nobody() {
    let (world, (_, server)) = (World::new(), publishing(String::new()));
    let right = request(&[&server.url(PATH)]);
    let wrong = Request { sha256: given(wrong_sum()), ..right.clone() };
    // Put there by hand, checked by others, and touched since.
    for prepare in [|_: &World| {}, |world: &World| drop(world.cache().ensure(&request(&[])).unwrap()), touch] {
        world.put(&driver("580.76.05").build());
        prepare(&world);
        for cache in [world.cache(), world.offline()] {
            let error = cache.ensure(&wrong).unwrap_err();
            let (path, found, expected) = (world.path(), good_sum(), wrong_sum());
            let message = format!(
                "`{}` has the SHA-256 sum {found}, but {expected} is expected according to `nvidia_runfile_sha256`",
                path.display()
            );
            assert_eq!((error.kind(), error.message()), (Kind::Verification, &*message));
            assert!(error.hint_text().unwrap().contains("correct or remove the expected sum"), "{error:?}");
            assert!(path.exists() && !world.beside(".wrong").exists(), "{:?}", world.names());
        }
        assert_eq!(world.offline().ensure(&right).unwrap().sha256(), good_sum());
    }
    assert_eq!(server.asked_for(".run").len(), 0, "it is not downloaded again");
}

fn touch(world: &World) {
    let now = std::time::SystemTime::now();
    fs_err::OpenOptions::new().write(true).open(world.path()).unwrap().file().set_modified(now).unwrap();
}

#[test]
fn a_damaged_file_goes_whatever_the_entry_expects() {
    let (world, (bytes, server)) = (World::new(), publishing(String::new()));
    let request = Request { sha256: given(good_sum()), ..request(&[&server.url(PATH)]) };
    for damaged in [&bytes[..bytes.len() - 1], b"no run file"] {
        world.put(damaged);
        assert_eq!(world.cache().ensure(&request).unwrap().sha256(), good_sum());
        assert!(world.beside(".wrong").exists());
    }
}

#[test]
fn a_list_with_a_wrong_sum_takes_no_recorded_file_away() {
    let (world, (_, server)) = (World::new(), publishing(String::new()));
    let request = request(&[&server.url(PATH)]);
    world.cache().ensure(&request).unwrap();
    let list = world.layout.base().join("sums.txt");
    fs_err::write(&list, format!("{}  {}\n", wrong_sum(), &PATH[1..])).unwrap();
    let error =
        world.cache_with(Settings { checksums: Some(list.clone()), ..settings() }).ensure(&request).unwrap_err();
    assert!(error.message().ends_with(&format!("is expected according to `{}`", list.display())), "{error:?}");
    assert_eq!(world.cache().ensure(&request).unwrap().sha256(), good_sum());
}

#[test]
fn the_operators_list_decides_before_the_record() {
    let (world, (_, server)) = (World::new(), publishing(String::new()));
    let list = world.layout.base().join("sums.txt");
    let request = request(&[&server.url(PATH)]);
    let with_list = || world.cache_with(Settings { checksums: Some(list.clone()), ..settings() });
    fs_err::write(&list, format!("{}  {}\n", good_sum(), &PATH[1..])).unwrap();
    assert_eq!(*with_list().ensure(&request).unwrap().origin(), Origin::ChecksumsFile(list.clone()));
    fs_err::write(&list, format!("{}  {}\n", wrong_sum(), &PATH[1..])).unwrap();
    assert_eq!(with_list().ensure(&request).unwrap_err().kind(), Kind::Verification);
    fs_err::remove_file(&list).unwrap();
    assert_eq!(with_list().ensure(&request).unwrap_err().kind(), Kind::Configuration);
}

#[test]
fn what_the_cache_recorded_first_decides_ever_after() {
    let (world, (_, server)) = (World::new(), publishing(String::new()));
    let request = request(&[&server.url(PATH)]);
    world.cache().ensure(&request).unwrap();
    fs_err::remove_file(world.path()).unwrap();
    assert_eq!(*world.cache().ensure(&request).unwrap().origin(), Origin::Record);
    // The same version with other contents, and sound in itself: NVIDIA, or somebody else, has replaced it.
    fs_err::remove_file(world.path()).unwrap();
    let replaced = driver("580.76.05").member("more", 0o644, "x").build();
    let other = HttpServer::start(move |asked| Answer::file(asked, &replaced, "\"two\""));
    let request = super::request(&[&other.url(PATH)]);
    let error = world.cache().ensure(&request).unwrap_err();
    assert_eq!(error.kind(), Kind::Verification);
    assert!(error.hint_text().unwrap().contains("`phoenix-nvidia cache replace FILE`"), "{error:?}");
}

#[test]
fn a_file_that_was_touched_is_read_again() {
    let (world, (bytes, server)) = (World::new(), publishing(String::new()));
    let request = request(&[&server.url(PATH)]);
    world.cache().ensure(&request).unwrap();
    let mut changed = bytes.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs_err::write(world.path(), changed).unwrap();
    assert!(matches!(world.cache().look(&request).unwrap(), Presence::Unchecked { .. }));
    assert_eq!(world.cache().ensure(&request).unwrap().sha256(), sha256(&bytes));
    assert!(world.beside(".wrong").exists());
    assert!(world.heard.sayings().contains("is refused: its SHA-256 sum is"), "{}", world.heard.sayings());
}

#[test]
fn damaged_stamps_make_the_file_be_read_again_and_not_downloaded_again() {
    let (world, (_, server)) = (World::new(), publishing(String::new()));
    let request = request(&[&server.url(PATH)]);
    world.cache().ensure(&request).unwrap();
    fs_err::write(world.layout.cache_stamps(), "{\"format\":").unwrap();
    assert_eq!(*world.cache().ensure(&request).unwrap().origin(), Origin::Record);
    assert_eq!(server.asked_for(".run").len(), 1);
    assert_eq!(world.heard.sayings().matches("is damaged; the run files are read again").count(), 1);
}

#[test]
fn looking_writes_nothing() {
    let world = World::new();
    assert_eq!(world.cache().look(&request(&[])).unwrap(), Presence::Absent);
    assert_eq!(fs_err::read_dir(world.layout.base()).unwrap().count(), 0);
    world.put(b"anything");
    let presence = world.cache().look(&request(&[])).unwrap();
    assert_eq!(presence, Presence::Unchecked { path: world.path(), bytes: 8 });
    assert_eq!(world.names(), [&PATH[1..]]);
}
