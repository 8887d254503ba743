//! Another file in the place of the recorded one: by its own verb, whole or not at all.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use phoenix_nvidia::cache::{Presence, Settings, Sort};
use phoenix_nvidia::driver::Sha256;
use phoenix_nvidia::error::Kind;
use phoenix_nvidia::sys::lock::FileLock;

use super::{PATH, VERSION, World, driver, request, settings, sha256};
use crate::run_file::{Broken, RunFile};

/// The file that NVIDIA publishes later under the name of the first.
fn second() -> RunFile {
    driver(VERSION).member("more", 0o644, "more")
}

fn sum_of(file: &RunFile) -> Sha256 {
    sha256(&file.build())
}

impl World {
    fn with_the_first() -> (Self, PathBuf) {
        let world = Self::new();
        world.put(&driver(VERSION).build());
        world.offline().ensure(&request(&[])).unwrap();
        let source = world.layout.base().join("second.run");
        fs_err::write(&source, second().build()).unwrap();
        (world, source)
    }

    fn has(&self) -> Sha256 {
        self.offline().ensure(&request(&[])).unwrap().sha256()
    }

    fn stamps(&self) -> serde_json::Value {
        serde_json::from_slice(&fs_err::read(self.layout.cache_stamps()).unwrap()).unwrap()
    }
}

#[test]
fn what_is_refused_as_an_import_takes_the_place_by_its_own_verb_even_when_the_first_is_gone() {
    for is_gone in [false, true] {
        let (world, source) = World::with_the_first();
        if is_gone {
            fs_err::remove_file(world.path()).unwrap();
        }
        let error = world.offline().import(&source, None).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification);
        let remedy = format!("`phoenix-nvidia cache replace {}`", source.display());
        assert!(error.hint_text().unwrap().contains(&remedy), "{error:?}");
        let before = world.names();
        let announced = world.offline().replaceable(&source, None).unwrap();
        assert_eq!((announced.replaced(), world.names()), (Some(sum_of(&driver(VERSION))), before));
        let done = world.offline().replace(&source, None).unwrap();
        assert_eq!(done.replaced(), Some(sum_of(&driver(VERSION))));
        assert_eq!(world.has(), sum_of(&second()));
        assert!(source.exists());
        assert!(matches!(world.offline().look(&request(&[])).unwrap(), Presence::Trusted { .. }));
        assert_eq!(world.names(), [&PATH[1..], "SHA256SUMS", "stamps.json"]);
        assert_eq!(world.offline().replace(&source, None).unwrap().replaced(), None);
        assert!(world.stamps().get("coming").is_none(), "{}", world.stamps());
    }
}

#[test]
fn a_damaged_or_other_file_takes_nobodys_place() {
    let (world, _) = World::with_the_first();
    let source = world.layout.base().join("broken.run");
    for (bytes, version) in [
        (second().broken(Broken::FlippedInThePayload), None),
        (second().broken(Broken::Truncated), None),
        (second().build(), Some("570.133.20")),
    ] {
        fs_err::write(&source, bytes).unwrap();
        let version = version.map(|version| version.parse().unwrap());
        let error = world.offline().replace(&source, version.as_ref()).unwrap_err();
        assert_eq!(error.kind(), Kind::Verification);
        assert!(!error.hint_text().unwrap().contains("cache replace"), "{error:?}");
        assert_eq!(world.has(), sum_of(&driver(VERSION)));
    }
}

#[test]
fn the_operators_list_of_sums_decides_about_replacements_too() {
    let (world, source) = World::with_the_first();
    let list = world.layout.base().join("sums");
    fs_err::write(&list, format!("{}  {}\n", sum_of(&driver(VERSION)), &PATH[1..])).unwrap();
    let settings = Settings { checksums: Some(list), offline: true, ..settings() };
    assert_eq!(world.cache_with(settings).replace(&source, None).unwrap_err().kind(), Kind::Verification);
    assert_eq!(world.has(), sum_of(&driver(VERSION)));
}

#[test]
fn a_file_that_is_in_use_is_waited_for_and_one_that_is_open_stays_readable() {
    let (world, source) = World::with_the_first();
    let open = world.offline().ensure(&request(&[])).unwrap();
    let lock = world.layout.run_file_lock(&VERSION.parse().unwrap(), "x86_64");
    let held = FileLock::acquire(&lock, "it", Duration::ZERO, &world.heard, &world.cancel).unwrap();
    let impatient = Settings { lock_patience: Duration::ZERO, offline: true, ..settings() };
    assert_eq!(world.cache_with(impatient).replace(&source, None).unwrap_err().kind(), Kind::Busy);
    drop(held);
    world.offline().replace(&source, None).unwrap();
    let mut bytes = Vec::new();
    open.reader().read_to_end(&mut bytes).unwrap();
    assert_eq!(sha256(&bytes), sum_of(&driver(VERSION)));
}

/// The two states between the first and the last write, made by hand.
#[test]
fn between_its_steps_the_cache_has_the_former_file_or_the_new_one() {
    for is_renamed in [false, true] {
        let (world, _) = World::with_the_first();
        let mut stamps = world.stamps();
        stamps["coming"] = serde_json::json!({ &PATH[1..]: sum_of(&second()) });
        fs_err::write(world.layout.cache_stamps(), stamps.to_string()).unwrap();
        if is_renamed {
            world.put(&second().build());
        }
        let expected = if is_renamed { sum_of(&second()) } else { sum_of(&driver(VERSION)) };
        assert_eq!(world.has(), expected);
        assert!(world.offline().verify_all().unwrap().iter().all(|(_, verdict)| verdict.is_ok()));
        assert_eq!(world.has(), expected);
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the process is to be killed, which the library's command never does")]
fn killed_at_any_moment_the_cache_has_the_former_file_or_the_new_one() {
    let (world, source) = World::with_the_first();
    fs_err::create_dir_all(world.layout.containers_file().parent().unwrap()).unwrap();
    fs_err::write(world.layout.containers_file(), "{ \"lxc_configs\": {} }").unwrap();
    let replacing = |file: &std::path::Path| {
        Command::new(env!("CARGO_BIN_EXE_phoenix-nvidia"))
            .arg("--base")
            .arg(world.layout.base())
            .args(["--log-file", "/dev/null", "cache", "replace"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let begun = Instant::now();
    assert!(replacing(&source).wait().unwrap().success());
    let whole = begun.elapsed();
    let first = world.layout.base().join("first.run");
    fs_err::write(&first, driver(VERSION).build()).unwrap();
    let either = [sum_of(&driver(VERSION)), sum_of(&second())];
    for part in 0..24 {
        let mut process = replacing([&first, &source][part as usize % 2]);
        world.cancel.wait(whole * part / 20).unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        assert!(either.contains(&world.has()), "after {part} parts of 20");
    }
}

#[test]
fn a_file_that_somebody_has_put_there_is_reported_apart_from_a_damaged_one() {
    let (world, source) = World::with_the_first();
    let sorts = || -> Vec<Sort> { world.offline().list().unwrap().into_iter().map(|entry| entry.sort).collect() };
    for (bytes, is_sound) in [(driver(VERSION).broken(Broken::FlippedInThePayload), false), (second().build(), true)] {
        world.put(&bytes);
        assert_eq!(sorts(), [Sort::Unchecked]);
        let verdicts = world.offline().verify_all().unwrap();
        let hint = verdicts[0].1.as_ref().unwrap_err().hint_text().unwrap().to_owned();
        assert_eq!(hint.contains("cache replace"), is_sound, "{hint}");
        assert_eq!(sorts(), [Sort::Refused { is_sound }]);
        let prunable = world.offline().prunable(&[request(&[])]).unwrap();
        assert_eq!(prunable.len(), usize::from(!is_sound));
    }
    // The remedy, with the very file.
    world.offline().replace(&world.path(), None).unwrap();
    assert!(matches!(sorts()[..], [Sort::Trusted { .. }]));
    assert_eq!(world.has(), sum_of(&second()));
    drop(source);
}
