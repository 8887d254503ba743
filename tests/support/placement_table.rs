//! Where every type of file goes, from a table that was written by hand: an oracle for whoever places a driver.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]

const TABLE: &str = include_str!("../fixtures/placement.txt");
const HEADER: &str = "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n550.163.01\n \nnvidia nvidia-uvm \n \n \n\
                      ./kernel/\n./kernel/precompiled/\n";

/// The version of the driver in the table.
pub const VERSION: &str = "550.163.01";

/// How a distribution lays out its libraries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    Debian,
    Rpm,
    Arch,
}

/// What has to be there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A regular file with exactly these permission bits.
    File { mode: u32 },
    /// A link that says this.
    Link { target: String },
}

/// One line of the table, for one layout.
#[derive(Debug, Clone)]
struct Row {
    /// The line of the manifest; none for what every installation makes.
    line: Option<&'static str>,
    expected: Option<(String, Kind)>,
}

impl Layout {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Debian, Self::Rpm, Self::Arch];

    /// The directories of libraries of 64 bits, of 32-bit libraries, and of the X server's modules.
    pub fn directories(self) -> [&'static str; 3] {
        match self {
            Self::Debian => ["/usr/lib/x86_64-linux-gnu", "/usr/lib/i386-linux-gnu", "/usr/lib/xorg/modules"],
            Self::Rpm => ["/usr/lib64", "/usr/lib", "/usr/lib64/xorg/modules"],
            Self::Arch => ["/usr/lib", "/usr/lib32", "/usr/lib/xorg/modules"],
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Debian => "debian",
            Self::Rpm => "rpm",
            Self::Arch => "arch",
        }
    }
}

/// Everything that an installation of the table's package makes: where, and what. `takes` says which lines of the
/// manifest the system has a place for, such as those without `COMPAT32`.
pub fn expected_of(layout: Layout, takes: impl Fn(&str) -> bool) -> Vec<(String, Kind)> {
    let rows = rows(layout).into_iter().filter(|row| row.line.is_none_or(&takes));
    rows.filter_map(|row| row.expected).collect()
}

/// A manifest with all lines of the table; it is the same for every layout.
pub fn manifest() -> String {
    let lines = rows(Layout::Debian).into_iter().filter_map(|row| row.line);
    lines.fold(HEADER.to_owned(), |text, line| text + line + "\n")
}

/// The regular files of the package: path and permission bits.
pub fn members() -> Vec<(&'static str, u32)> {
    let lines = rows(Layout::Debian).into_iter().filter_map(|row| row.line);
    let files = lines.filter_map(|line| {
        let (path, rest) = line.split_once(' ').unwrap();
        let mode = u32::from_str_radix(rest.split(' ').next().unwrap(), 8).unwrap();
        (mode != 0).then(|| (path.trim_start_matches("./"), mode & 0o777))
    });
    files.collect()
}

fn rows(layout: Layout) -> Vec<Row> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let of_layout = lines.filter_map(|line| match line.split(" | ").collect::<Vec<_>>().as_slice() {
        [name, line, result] if *name == layout.word() => {
            Some(Row { line: (*line != "-").then_some(*line), expected: expected(result) })
        }
        [_, _, _] => None,
        _ => panic!("not a line of the table: {line}"),
    });
    of_layout.collect()
}

fn expected(result: &str) -> Option<(String, Kind)> {
    if result == "nothing" {
        return None;
    }
    if let Some((path, target)) = result.split_once(" -> ") {
        return Some((path.to_owned(), Kind::Link { target: target.to_owned() }));
    }
    let (mode, path) = result.split_once(' ').unwrap();
    Some((path.to_owned(), Kind::File { mode: u32::from_str_radix(mode, 8).unwrap() }))
}
