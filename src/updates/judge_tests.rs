//! Tests of the judgement: made-up lists and GPUs, and what an operator is offered.

use super::*;
use crate::driver::releases::Releases;
use crate::driver::supported_gpus::SupportedGpus;

const LIST: &str = r#"{
    "580": { "type": "lts branch", "driver_info": [
        { "release_version": "580.76.05", "architectures": ["x86_64"] },
        { "release_version": "580.95.05", "release_date": "2025-10-01", "architectures": ["x86_64"] } ] },
    "595": { "type": "production branch", "driver_info": [ { "release_version": "595.58.03", "architectures": ["x86_64"] } ] },
    "610": { "type": "new feature branch", "driver_info": [ { "release_version": "610.43.03", "architectures": ["x86_64"] } ] }
}"#;

fn version(text: &str) -> DriverVersion {
    text.parse().unwrap()
}

fn answers(latest: &str, list: &str) -> Answers {
    Answers { latest: latest.parse().ok(), releases: Releases::parse(list, "x86_64").ok(), failures: Vec::new() }
}

/// A GTX 1080 under a module of branch 580, which the driver of branch 595 in the store drops or drives.
fn gpus(dropped: bool) -> KnownGpus {
    let legacy = if dropped { r#", "legacybranch": "580.xx""# } else { "" };
    let list = format!(r#"{{ "chips": [ {{ "devid": "0x1B80", "name": "GTX 1080"{legacy} }} ] }}"#);
    let lists = [(595, SupportedGpus::parse(list.as_bytes()).unwrap())];
    KnownGpus::of(580, std::iter::once((0, "GTX", Some("0x1b80".to_owned()))), &lists)
}

fn offered(loaded: &str, answers: &Answers, gpus: &KnownGpus) -> Vec<(NewestOf, String, Verdict)> {
    let offers = Offers::of(&version(loaded), answers, gpus).offers.into_iter();
    offers.map(|offer| (offer.newest_of, offer.release.version.to_string(), offer.verdict)).collect()
}

fn row(newest_of: NewestOf, version: &str, verdict: Verdict) -> (NewestOf, String, Verdict) {
    (newest_of, version.to_owned(), verdict)
}

#[test]
fn the_newest_of_the_branch_of_production_and_of_all_are_offered() {
    let answers = answers("610.57.01", LIST);
    let expected = [
        row(NewestOf::Branch, "580.95.05", Verdict::Newer),
        row(NewestOf::Production, "595.58.03", Verdict::Newer),
        row(NewestOf::All, "610.57.01", Verdict::Newer),
    ];
    assert_eq!(offered("580.76.05", &answers, &gpus(false)), expected);
    let offers = Offers::of(&version("580.76.05"), &answers, &gpus(false));
    assert_eq!(offers.update_available(), Some(true));
    let driven: Vec<Driven> = offers.offers.iter().map(|offer| offer.driven.clone()).collect();
    assert_eq!(driven, [Driven::All, Driven::All, Driven::NotKnown]);
    assert_eq!(offers.offers[2].release.branch_type, Some(BranchType::NewFeature), "that of its branch");
}

#[test]
fn a_branch_that_drops_a_gpu_is_shown_and_not_recommended_and_the_next_is_offered() {
    let expected = [
        row(NewestOf::Branch, "580.95.05", Verdict::Loaded),
        row(NewestOf::Production, "595.58.03", Verdict::NotRecommended),
        row(NewestOf::Production, "580.95.05", Verdict::Loaded),
        row(NewestOf::All, "610.43.03", Verdict::NotRecommended),
        row(NewestOf::All, "580.95.05", Verdict::Loaded),
    ];
    assert_eq!(offered("580.95.05", &answers("", LIST), &gpus(true)), expected);
}

#[test]
fn a_branch_that_no_list_names_decides_nothing() {
    let of = |loaded: &str, answers: &Answers| Offers::of(&version(loaded), answers, &gpus(false)).update_available();
    assert_eq!(of("575.57.08", &answers("610.43.03", LIST)), None);
    assert_eq!(of("580.95.05", &answers("580.105.08", "")), Some(true), "the other list alone may decide");
    assert_eq!(of("580.95.05", &answers("610.43.03", "")), None);
    assert_eq!(of("580.126.20", &answers("610.43.03", LIST)), Some(false), "newer than what NVIDIA lists");
    assert_eq!(offered("580.126.20", &answers("", LIST), &gpus(false))[0].2, Verdict::Older);
}
