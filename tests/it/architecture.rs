//! The shape of the code, checked on its text: layers that use only what lies below them, and the rules of the house.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What each module of the library may use beside itself and the ground. Siblings do not name each other.
const LAYERS: [(&str, &[&str]); 12] = [
    ("sys", &[]),
    ("driver", &["sys"]),
    ("host", &["sys", "driver"]),
    ("config", &["sys", "driver", "host"]),
    ("cache", &["sys", "driver", "host", "config"]),
    ("hypervisor", &["sys", "driver", "host", "config"]),
    ("store", &["sys", "driver", "config", "cache"]),
    ("updates", &["sys", "driver", "host", "config", "store"]),
    ("install", &["sys", "driver", "host", "config", "cache", "hypervisor", "store"]),
    ("fleet", &["sys", "driver", "host", "config", "cache", "hypervisor", "store", "install"]),
    ("status", &["sys", "driver", "host", "config", "cache", "hypervisor", "store", "install", "fleet"]),
    ("doctor", &["sys", "driver", "host", "config", "cache", "hypervisor", "store", "install", "fleet"]),
];

/// What everything stands on.
const GROUND: [&str; 3] = ["container_id", "error", "event"];

const MOST_LINES: usize = 450;

/// A file of ours: its path from the repository's root, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// The module of the library that it belongs to: `sys` for `src/sys/lock.rs`, `error` for `src/error.rs`.
    fn module(&self) -> Option<&str> {
        let below = self.path.strip_prefix("src").ok()?;
        let first = Path::new(below.components().next()?.as_os_str());
        first.file_stem()?.to_str().filter(|name| !["cli", "main", "lib"].contains(name))
    }

    /// `path:line` of every place where `word` stands in code, not in a comment.
    fn places(&self, word: &str) -> Vec<String> {
        let code = |line: &str| line.split("//").next().is_some_and(|code| has_word(code, word));
        let numbered = self.text.lines().enumerate().filter(|(_, line)| code(line));
        numbered.map(|(index, _)| format!("{}:{}", self.path.display(), index + 1)).collect()
    }

    /// The line number of a position in the text.
    fn line_of(&self, position: usize) -> usize {
        self.text[..position].matches('\n').count() + 1
    }

    /// Every module of the library that is named after `crate::`, alone or in braces, with its line.
    fn uses(&self) -> Vec<(usize, &str)> {
        let mut uses = Vec::new();
        for (position, path) in self.text.match_indices("crate::") {
            let rest = &self.text[position + path.len()..];
            let line = self.line_of(position);
            match rest.strip_prefix('{') {
                None => uses.push((line, first_name(rest))),
                Some(group) => uses.extend(group_members(group).into_iter().map(|name| (line, name))),
            }
        }
        uses
    }
}

/// Whether `word` stands in the code with no letter, digit or underscore on either side.
fn has_word(code: &str, word: &str) -> bool {
    let is_part = |character: Option<char>| character.is_some_and(|it| it.is_alphanumeric() || it == '_');
    code.match_indices(word)
        .any(|(at, _)| !is_part(code[..at].chars().next_back()) && !is_part(code[at + word.len()..].chars().next()))
}

fn first_name(text: &str) -> &str {
    let end = text.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first name of every member of `a::b, c::{d, e}}`, where the opening brace has been read.
fn group_members(group: &str) -> Vec<&str> {
    let (mut members, mut depth, mut start) = (Vec::new(), 0, 0);
    for (index, character) in group.char_indices() {
        match character {
            '{' => depth += 1,
            '}' if depth == 0 => {
                members.push(first_name(group[start..index].trim()));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                members.push(first_name(group[start..index].trim()));
                start = index + 1;
            }
            _ => {}
        }
    }
    members.retain(|name| !name.is_empty());
    members
}

/// Every Rust file below these directories.
fn sources(directories: &[&str]) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    let mut waiting: Vec<PathBuf> = directories.iter().map(|directory| root.join(directory)).collect();
    while let Some(directory) = waiting.pop() {
        for entry in fs_err::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.extension().is_some_and(|it| it == "rs") {
                let text = fs_err::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().to_owned(), text });
            }
        }
    }
    assert!(!found.is_empty());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every source of the project.
fn all() -> Vec<Source> {
    sources(&["src", "tests", "examples"])
}

#[track_caller]
fn assert_none(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn every_layer_uses_only_what_lies_below_it() {
    let mut faults = Vec::new();
    for source in sources(&["src"]) {
        let Some(module) = source.module() else { continue };
        let below = LAYERS.iter().find(|(name, _)| *name == module).map(|(_, below)| *below);
        let below = below.or_else(|| GROUND.contains(&module).then_some(&[][..]));
        let below = below.unwrap_or_else(|| panic!("`{}` has no place among the layers", source.path.display()));
        for (line, used) in source.uses() {
            if used != module && !below.contains(&used) && !GROUND.contains(&used) {
                faults.push(format!("{}:{line}: `{module}` uses `{used}`", source.path.display()));
            }
        }
    }
    assert_none(&faults, "a layer uses one that is not below it");
}

/// The files that each file imports from, by the paths in its code. Of a name that a module passes on, the file that
/// defines it counts; tests are left out.
fn imports() -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let files: BTreeMap<PathBuf, String> = sources(&["src"])
        .into_iter()
        .filter(|source| !source.path.to_string_lossy().contains("tests"))
        .map(|source| {
            let code = source.text.split("#[cfg(test)]").next().unwrap_or_default();
            let code = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            (source.path, code)
        })
        .collect();
    let imported = |path: &PathBuf| {
        let paths = paths_in(&files[path], &module_of(path));
        paths.iter().filter_map(|names| file_of(names, &files)).filter(|file| file != path).collect()
    };
    files.keys().map(|path| (path.clone(), imported(path))).collect()
}

/// The module that a file is: `["fleet", "plan"]` for `src/fleet/plan/mod.rs`.
fn module_of(path: &Path) -> Vec<String> {
    let names = path.with_extension("");
    let names = names.strip_prefix("src").unwrap_or(&names).iter().map(|name| name.to_string_lossy().into_owned());
    names.filter(|name| name != "mod").collect()
}

/// Every path of names in a module's code that begins at the crate's root, `self` or `super`, from the root on.
fn paths_in(code: &str, module: &[String]) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("::") {
        let word = code[..at].rsplit(|it: char| !it.is_alphanumeric() && it != '_').next().unwrap_or_default();
        let before = &code[..at - word.len()];
        let base = match word {
            "crate" | "phoenix_nvidia" => Vec::new(),
            "self" if !before.ends_with("::") => module.to_vec(),
            "super" if !before.ends_with("::") => module[..module.len().saturating_sub(1)].to_vec(),
            _ => continue,
        };
        members(&code[at + 2..], base, &mut found);
    }
    found
}

/// Adds every path that `text` names below `base`: `a::b`, or each of `{a, b::c}`.
fn members(text: &str, base: Vec<String>, found: &mut Vec<Vec<String>>) {
    if let Some(group) = text.strip_prefix('{') {
        let (mut depth, mut start) = (0, 0);
        for (at, character) in group.char_indices() {
            match character {
                '{' => depth += 1,
                '}' if depth > 0 => depth -= 1,
                ',' | '}' if depth == 0 => {
                    members(group[start..at].trim(), base.clone(), found);
                    start = at + 1;
                    if character == '}' {
                        return;
                    }
                }
                _ => {}
            }
        }
        return;
    }
    let name = first_name(text);
    let (mut path, rest) = (base, &text[name.len()..]);
    match name {
        "" => {}
        "self" => found.push(path),
        "super" => {
            path.pop();
            members(rest.trim_start_matches("::"), path, found);
        }
        _ => {
            path.push(name.to_owned());
            match rest.strip_prefix("::") {
                Some(rest) => members(rest, path, found),
                None => found.push(path),
            }
        }
    }
}

/// The file that a path leads to: its module's, or the one from which that module passes the name on.
fn file_of(names: &[String], files: &BTreeMap<PathBuf, String>) -> Option<PathBuf> {
    let file = |names: &[String]| {
        let below = names.iter().fold(PathBuf::from("src"), |path, name| path.join(name));
        [below.with_extension("rs"), below.join("mod.rs")].into_iter().find(|path| files.contains_key(path))
    };
    let length = (1..=names.len()).rev().find(|length| file(&names[..*length]).is_some())?;
    let (module, path) = (&names[..length], file(&names[..length])?);
    let Some(name) = names.get(length) else { return Some(path) };
    let passed_on = files[&path].lines().filter(|line| line.contains("use ") && has_word(line, name));
    let mut from = passed_on.flat_map(|line| paths_in(&line.replace("use ", "use self::"), module));
    let origin = from.find(|names| names.last() == Some(name)).and_then(|names| file(&names[..names.len() - 1]));
    Some(origin.unwrap_or(path))
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut imports = imports();
    assert!(imports.values().map(BTreeSet::len).sum::<usize>() > 500, "imports are not seen");
    // What imports nothing that is left, or is imported by nothing that is left, is in no circle.
    let is_free = |path: &PathBuf, imports: &BTreeMap<PathBuf, BTreeSet<PathBuf>>| {
        imports[path].is_empty() || imports.values().all(|used| !used.contains(path))
    };
    while let Some(free) = imports.keys().find(|path| is_free(path, &imports)).cloned() {
        imports.remove(&free);
        imports.values_mut().for_each(|used| {
            used.remove(&free);
        });
    }
    let of = |used: &BTreeSet<PathBuf>| used.iter().map(|it| it.display().to_string()).collect::<Vec<_>>().join(", ");
    let faults: Vec<String> = imports.iter().map(|(path, used)| format!("{}: {}", path.display(), of(used))).collect();
    assert_none(&faults, "files import each other in a circle");
}

#[test]
fn only_the_command_line_prints() {
    let words = ["println!", "print!", "eprintln!", "eprint!", "stdout()", "stderr()", "anstream", "indicatif"];
    let library: Vec<Source> = sources(&["src"]).into_iter().filter(|it| it.module().is_some()).collect();
    let faults: Vec<String> =
        library.iter().flat_map(|source| words.iter().flat_map(|word| source.places(word))).collect();
    assert_none(&faults, "the library prints, which only `src/cli` may");
}

#[test]
fn processes_are_started_in_one_place() {
    let elsewhere = sources(&["src"]).into_iter().filter(|source| source.path != Path::new("src/sys/command.rs"));
    let faults: Vec<String> = elsewhere.flat_map(|source| source.places("process::Command")).collect();
    assert_none(&faults, "processes are started by `sys::command` alone");
}

#[test]
fn nothing_is_unsafe() {
    let faults: Vec<String> = sources(&["src", "examples"]).iter().flat_map(|it| it.places("unsafe")).collect();
    assert_none(&faults, "unsafe code, which every reader would have to prove");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent = all().into_iter().filter(|source| !source.text.starts_with("//! "));
    let faults: Vec<String> = silent.map(|source| format!("{}:1", source.path.display())).collect();
    assert_none(&faults, "a file does not begin with `//! ` and what it is for");
}

#[test]
fn every_file_is_short_enough_to_be_read() {
    let mut faults = Vec::new();
    for source in all() {
        let lines = source.text.lines().count();
        if lines > MOST_LINES {
            faults.push(format!("{}:{lines}", source.path.display()));
        }
    }
    assert_none(&faults, &format!("a file has more than {MOST_LINES} lines"));
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    let empty = ["util", "utils", "helper", "helpers", "manager", "common", "misc"];
    let says_nothing = |part: &std::path::Component<'_>| {
        Path::new(part.as_os_str()).file_stem().and_then(|stem| stem.to_str()).is_some_and(|it| empty.contains(&it))
    };
    let faulty = all().into_iter().filter(|source| source.path.components().any(|part| says_nothing(&part)));
    let faults: Vec<String> = faulty.map(|source| source.path.display().to_string()).collect();
    assert_none(&faults, "a name that says nothing");
}

#[test]
fn the_checks_see_what_they_are_to_find() {
    let text = "//! A text.\nuse crate::{error::{Kind, Result}, fleet::Plan};\nlet a = crate::cache::B; // println!\n";
    let source = Source { path: "src/driver/x.rs".into(), text: text.to_owned() };
    assert_eq!(source.module(), Some("driver"));
    let seen = source.uses().iter().fold(String::new(), |mut seen, (line, name)| {
        write!(seen, "{line}:{name} ").unwrap();
        seen
    });
    assert_eq!(seen, "2:error 2:fleet 3:cache ");
    assert_eq!(source.places("println!"), Vec::<String>::new(), "a comment prints nothing");
    assert_eq!(source.places("Plan"), ["src/driver/x.rs:2"]);
    let paths = paths_in("use super::{a, b::{C, self}};\nself::d::e();", &["x".to_owned(), "y".to_owned()]);
    assert_eq!(
        paths.iter().map(|names| names.join("::")).collect::<Vec<_>>(),
        ["x::a", "x::b::C", "x::b", "x::y::d::e"]
    );
    assert!(!has_word("eprintln!(1)", "println!") && !has_word("unsafe_code", "unsafe"));
}
