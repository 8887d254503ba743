//! NVIDIA's own lists of its releases: `latest.txt` beside the run files, and `releases.json` of the data-center drivers.
//!
//! `latest.txt` is one line: `580.95.05 580.95.05/NVIDIA-Linux-x86_64-580.95.05.run`. `releases.json` is documented for
//! automation in "Supported Drivers and CUDA Toolkit Versions" of docs.nvidia.com/datacenter/tesla/drivers, without its
//! format. That was read in a copy of 52 KB of 2025-07 (`captured_real_api_responses` in the repository
//! `ogandojose/nvidia_driver_monitor`), and is what GoogleCloudPlatform/compute-gpu-installation reads
//! (`linux/list_releases.py`): an object with a key for each branch (`"570"`), whose `type` is `lts branch`,
//! `production branch` or `new feature branch`, and whose `driver_info` lists its releases, the newest first. Each has
//! `release_version`, `release_date` (`2025-07-17`, or an empty text), `release_notes`, `architectures` and
//! `runfile_url`, an object with a URL for each of them (`x86_64`, `aarch64`, `ppc64le`). The file is kept by hand: in
//! that copy, one URL is wrong, and one release has a URL for an architecture that it does not list.

use serde_json::Value;

use super::DriverVersion;
use super::run_file::{Name, looks_like_html};

/// How NVIDIA keeps a branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub enum BranchType {
    /// A production branch with fixes for three years.
    #[serde(rename = "lts branch")]
    LongTermSupport,
    /// For production, with fixes for a year.
    #[serde(rename = "production branch")]
    Production,
    /// For early adopters.
    #[serde(rename = "new feature branch")]
    NewFeature,
}

impl BranchType {
    /// As NVIDIA's list writes it.
    pub fn words(self) -> &'static str {
        match self {
            Self::LongTermSupport => "lts branch",
            Self::Production => "production branch",
            Self::NewFeature => "new feature branch",
        }
    }

    /// Whether it is for production. By NVIDIA's "Driver Lifecycle", every branch with long-term support is.
    pub fn is_for_production(self) -> bool {
        self != Self::NewFeature
    }

    fn of_words(words: &str) -> Option<Self> {
        let all = [Self::LongTermSupport, Self::Production, Self::NewFeature];
        all.into_iter().find(|it| words.trim().eq_ignore_ascii_case(it.words()))
    }
}

/// One driver that NVIDIA has published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its version.
    pub version: DriverVersion,
    /// How its branch is kept, where the list says so in words that are known.
    pub branch_type: Option<BranchType>,
    /// The day of its release: `2025-07-17`.
    pub date: Option<String>,
}

/// Why a text is not a list of releases, as the end of a sentence that begins with the list.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAList {
    /// A web page, as a portal or a mirror sends one with status 200.
    #[error("it is an HTML page")]
    HtmlPage,
    /// Not one line of NVIDIA's form.
    #[error("it is not a line such as `580.95.05 580.95.05/NVIDIA-Linux-x86_64-580.95.05.run`")]
    Line,
    /// No JSON with an object.
    #[error("it is not JSON with a key for each branch")]
    Json,
    /// It has the form and names nothing.
    #[error("it names no release for this machine")]
    Empty,
}

/// NVIDIA's `releases.json`, for one architecture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Releases {
    /// Every release, the newest first.
    pub all: Vec<Release>,
    /// How many entries name no version of their branch. They are left out.
    pub not_understood: usize,
}

impl Releases {
    /// No list is longer; the one of 2025-07 has 52 KB.
    pub const LIMIT: usize = 1 << 20;

    /// Reads the list, for machines that `uname -m` names so.
    ///
    /// # Errors
    /// Why it is none. What it holds stays out of the error: it is somebody else's text.
    pub fn parse(text: &str, architecture: &str) -> Result<Self, NotAList> {
        refuse_html(text)?;
        let Ok(Value::Object(branches)) = serde_json::from_str(text) else { return Err(NotAList::Json) };
        let mut list = Self { all: Vec::new(), not_understood: 0 };
        for (branch, entry) in &branches {
            let branch_type = entry["type"].as_str().and_then(BranchType::of_words);
            for release in entry["driver_info"].as_array().into_iter().flatten() {
                list.add(branch, branch_type, release, architecture);
            }
        }
        list.all.sort_by(|one, other| other.version.cmp(&one.version));
        list.all.dedup_by(|one, other| one.version == other.version);
        if list.all.is_empty() { Err(NotAList::Empty) } else { Ok(list) }
    }

    fn add(&mut self, branch: &str, branch_type: Option<BranchType>, release: &Value, architecture: &str) {
        let version = release["release_version"].as_str().and_then(|text| text.trim().parse::<DriverVersion>().ok());
        // A version that stands in another branch says that one of the two is wrong, and not which.
        let Some(version) = version.filter(|version| branch.parse() == Ok(version.branch())) else {
            self.not_understood += 1;
            return;
        };
        let is_listed = release["architectures"].as_array().is_some_and(|all| all.iter().any(|it| it == architecture));
        if !is_listed && release["runfile_url"].get(architecture).is_none() {
            return;
        }
        let date = release["release_date"].as_str().and_then(|text| text.trim().parse::<jiff::civil::Date>().ok());
        self.all.push(Release { version, branch_type, date: date.map(|date| date.to_string()) });
    }
}

/// No `latest.txt` is longer; NVIDIA's has some 60 bytes.
pub const LATEST_LIMIT: usize = 4 << 10;

/// The version that a `latest.txt` names, which a mirror's operator may have written without the path.
///
/// # Errors
/// It is no such file, or one for another architecture.
pub fn latest(text: &str, architecture: &str) -> Result<DriverVersion, NotAList> {
    refuse_html(text)?;
    let mut words = text.trim_end_matches(['\n', '\r']).split(' ');
    let version: DriverVersion = words.next().and_then(|word| word.parse().ok()).ok_or(NotAList::Line)?;
    let Some(path) = words.next() else { return Ok(version) };
    let name = path.strip_prefix(version.as_str()).and_then(|rest| Name::parse(rest.strip_prefix('/')?));
    let name = name.filter(|name| name.version == version).ok_or(NotAList::Line)?;
    match words.next() {
        None if name.architecture == architecture => Ok(version),
        None => Err(NotAList::Empty),
        Some(_) => Err(NotAList::Line),
    }
}

fn refuse_html(text: &str) -> Result<(), NotAList> {
    if looks_like_html(text.as_bytes()) { Err(NotAList::HtmlPage) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{
      "580": { "type": "lts branch", "driver_info": [
        { "release_version": "580.82.07", "release_date": "2025-09-02", "architectures": ["x86_64", "aarch64"], "runfile_url": {} },
        { "release_version": "580.95.05", "release_date": "", "architectures": ["x86_64"], "runfile_url": {} } ] },
      "595": { "type": "Production Branch ", "driver_info": [
        { "release_version": "595.58.03", "release_date": "2026-03-24", "architectures": ["aarch64"],
          "runfile_url": { "x86_64": "https://h/NVIDIA-Linux-x86_64-595.58.03.run" } } ] },
      "600": { "type": "something new", "driver_info": [
        { "release_version": "600.10", "architectures": ["x86_64"] },
        { "release_version": "600.11", "architectures": ["aarch64"] } ] }
    }"#;

    fn versions(list: &Releases) -> Vec<&str> {
        list.all.iter().map(|release| release.version.as_str()).collect()
    }

    #[test]
    fn the_releases_of_an_architecture_are_listed_newest_first_with_what_is_known_of_them() {
        let list = Releases::parse(LIST, "x86_64").unwrap();
        assert_eq!(versions(&list), ["600.10", "595.58.03", "580.95.05", "580.82.07"]);
        let types: Vec<_> = list.all.iter().map(|release| release.branch_type).collect();
        let lts = Some(BranchType::LongTermSupport);
        assert_eq!(types, [None, Some(BranchType::Production), lts, lts]);
        let dates: Vec<_> = list.all.iter().map(|release| release.date.as_deref()).collect();
        assert_eq!(dates, [None, Some("2026-03-24"), None, Some("2025-09-02")]);
        assert_eq!(versions(&Releases::parse(LIST, "aarch64").unwrap()), ["600.11", "595.58.03", "580.82.07"]);
        assert_eq!(Releases::parse(LIST, "riscv64"), Err(NotAList::Empty));
    }

    #[test]
    fn entries_that_name_no_version_of_their_branch_are_counted_and_left_out() {
        let list = r#"{ "580": { "driver_info": [
            { "release_version": "580.95.05", "architectures": ["x86_64"] },
            { "release_version": "580.\u001b[2J", "architectures": ["x86_64"] },
            { "release_version": "590.10.01", "architectures": ["x86_64"] },
            { "release_version": 580.95, "architectures": ["x86_64"] }, {}, 1, null ] } }"#;
        let list = Releases::parse(list, "x86_64").unwrap();
        assert_eq!((versions(&list), list.not_understood), (vec!["580.95.05"], 6));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "[]", "1", "{", &"[".repeat(100_000)] {
            assert_eq!(Releases::parse(text, "x86_64"), Err(NotAList::Json), "{text:.40}");
        }
        for text in ["{}", "{ \"580\": 1 }", "{ \"580\": { \"driver_info\": {} } }", "{ \"error\": \"not found\" }"] {
            assert_eq!(Releases::parse(text, "x86_64"), Err(NotAList::Empty), "{text}");
        }
        assert_eq!(Releases::parse(" <!DOCTYPE html>", "x86_64"), Err(NotAList::HtmlPage));
    }

    #[test]
    fn the_latest_version_is_the_first_word_of_a_line() {
        let of = |text: &str| latest(text, "x86_64").map(|version| version.to_string());
        for text in ["580.95.05 580.95.05/NVIDIA-Linux-x86_64-580.95.05.run\n", "580.95.05\r\n", "580.95.05"] {
            assert_eq!(of(text).as_deref(), Ok("580.95.05"), "{text}");
        }
        assert_eq!(of("580.95.05 580.95.05/NVIDIA-Linux-aarch64-580.95.05.run\n"), Err(NotAList::Empty));
        for text in [
            "",
            "\n",
            "580",
            "latest",
            "580.95.05 580.95.05/NVIDIA-Linux-x86_64-580.82.07.run",
            "580.95.05 /etc/passwd",
            "580.95.05 580.95.05/NVIDIA-Linux-x86_64-580.95.05.run more",
            "580.95.05\n580.82.07\n",
            "580.95.05\u{1b}[2J",
            "580.95.05 \u{7}",
        ] {
            assert_eq!(of(text), Err(NotAList::Line), "{text:?}");
        }
        assert_eq!(of("<html>Sign in</html>"), Err(NotAList::HtmlPage));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_reader_panic(text in ".{0,200}", at in 0usize..600) {
            let _ = latest(&text, "x86_64");
            let mut list = LIST.to_owned();
            if list.is_char_boundary(at) {
                list.insert_str(at, &text);
            }
            if let Ok(list) = Releases::parse(&list, "x86_64") {
                proptest::prop_assert!(!list.all.is_empty());
            }
        }
    }
}
