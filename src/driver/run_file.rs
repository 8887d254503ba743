//! The header of NVIDIA's run files: a shell script that names its sums and the line where its payload begins.
//!
//! Read from the stub generator in NVIDIA's open nvidia-installer repository (makeself 1.6.0-nv2 and -nv4) and from
//! published headers up to 610.57.04. `CRCsum` (POSIX `cksum`) and `MD5` cover everything from line 4 to the end of the
//! file; the payload begins at line `skip`, counted over bytes that may be a binary decompressor. The order of the
//! variables has changed over the years, so nothing here depends on it.

use std::str::FromStr;

use super::{Compression, DriverVersion, Variant};

/// How many bytes from the beginning of a file [`Header::parse`] wants to see, or the whole file if it is shorter.
///
/// Headers of real files end before 300 KiB, embedded decompressor included; a decompressor may grow.
pub const HEADER_LIMIT: usize = 4 << 20;

// The variables stand in the first twenty lines or so; further down the stub's own code begins.
const VARIABLE_LINES: usize = 200;
// The first three lines hold the sums themselves.
const FIRST_SUMMED_LINE: u64 = 4;

/// What a run file says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The POSIX `cksum` of everything from [`Header::summed_from`] on.
    pub crc: u32,
    /// The MD5 sum of the same bytes; none when the file was made without (32 zeros).
    pub md5: Option<[u8; 16]>,
    /// Where line 4 begins, in bytes.
    pub summed_from: u64,
    /// The line where the payload begins, counted from 1.
    pub skip: u64,
    /// Where the payload begins, in bytes.
    pub payload_at: u64,
    /// The driver's version.
    pub version: DriverVersion,
    /// The machine it is for, as `uname -m` names it.
    pub architecture: String,
    /// The directory that NVIDIA's stub unpacks into, a bare name.
    pub target_directory: String,
    /// The size of the unpacked payload in KiB as the `--info` text declares it, where it does.
    pub uncompressed_kib: Option<u64>,
}

/// Why bytes are not the header of a run file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Nothing there at all. NVIDIA's own `--check` calls this file good.
    #[error("it is empty")]
    Empty,
    /// What servers and captive portals answer instead of a file.
    #[error("it is an HTML page, not a run file")]
    HtmlPage,
    /// Something else altogether.
    #[error("it is not a run file: it does not begin with `#!`")]
    NotARunFile,
    /// A package of a distribution.
    #[error(
        "it is a Debian package, not a run file: install it on the host with `apt`, or get the run file of its version \
         from NVIDIA"
    )]
    DebianPackage,
    /// A compressed archive, such as NVIDIA's redistributables.
    #[error(
        "it is a compressed archive, not a run file: an archive of NVIDIA's redistributables has no installer, so \
         download the run file of its version from NVIDIA"
    )]
    Archive,
    /// Another sort of self-extracting script: CUDA's are of makeself 2.1, whose headers have `offset` for `skip`.
    #[error(
        "it is a self-extracting archive, but not of a driver; if it is CUDA's `cuda_*.run`, extract the driver's run \
         file with `sh FILE --silent --extract=/an/absolute/directory`"
    )]
    OtherArchive,
    /// A shell script without the variables of a run file.
    #[error("it is a script, but not an NVIDIA run file: it has no `{0}` line")]
    OtherScript(&'static str),
    /// The file ends before the header does.
    #[error("it ends within its header, after {bytes} bytes")]
    Truncated {
        /// How long the file is.
        bytes: usize,
    },
    /// Everything is there but the line that tells where the payload is.
    #[error("its header has no `skip` line, so its payload cannot be found")]
    NoSkip,
    /// The payload would begin within the header, or unreasonably late.
    #[error("its `skip` line is wrong: the payload cannot begin at line `{0}`")]
    WrongSkip(String),
    /// The header is whole and nothing follows.
    #[error("it ends where its payload should begin: only the header is there")]
    NoPayload,
    /// A variable is there and cannot be what it should be.
    #[error("its header line `{0}` has the invalid value `{1}`")]
    BadValue(&'static str, String),
    /// A variable is missing.
    #[error("its header does not say its {0}")]
    Missing(&'static str),
}

impl Header {
    /// Reads the header from the first [`HEADER_LIMIT`] bytes of a file, or from all of it if it is shorter.
    ///
    /// # Errors
    /// The bytes are not the beginning of a whole run file; each cause has its own [`HeaderFault`].
    pub fn parse(prefix: &[u8]) -> Result<Self, HeaderFault> {
        refuse_other_files(prefix)?;
        let variables = Variables(prefix);
        let crc = variables.get("CRCsum").ok_or_else(|| variables.absence("CRCsum", prefix))?;
        let skip = variables.get("skip").ok_or_else(|| variables.absence("skip", prefix))?;
        let skip = skip.parse().map_err(|_| HeaderFault::WrongSkip(shown(skip)))?;
        let payload_at = payload_offset(prefix, skip)?;
        let target_directory = variables.get("targetdir").unwrap_or_default();
        let name = Name::parse(target_directory);
        Ok(Self {
            crc: crc.parse().map_err(|_| HeaderFault::BadValue("CRCsum", shown(crc)))?,
            md5: md5(variables.get("MD5").ok_or(HeaderFault::Missing("MD5 sum"))?)?,
            summed_from: line_offset(prefix, FIRST_SUMMED_LINE).unwrap_or_default(),
            skip,
            payload_at,
            version: version(&variables, name.as_ref())?,
            architecture: architecture(&variables, name.as_ref())?,
            target_directory: bare_name(target_directory)?,
            uncompressed_kib: uncompressed_kib(&prefix[..payload_at as usize]),
        })
    }

    /// The variant that its directory is named for; only what is inside is a proof.
    pub fn claimed_variant(&self) -> Variant {
        Name::parse(&self.target_directory).and_then(|name| name.variant).unwrap_or(Variant::Full)
    }
}

/// What the name of a run file, or of the directory it unpacks into, says: `NVIDIA-Linux-x86_64-580.76.05.run`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The machine it is for.
    pub architecture: String,
    /// The driver's version.
    pub version: DriverVersion,
    /// What follows the version (`-grid`, `-no-compat32`); none where that is nothing of NVIDIA's.
    pub variant: Option<Variant>,
}

impl Name {
    /// Reads a name in NVIDIA's form.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_suffix(".run").unwrap_or(name);
        let (architecture, rest) = name.strip_prefix("NVIDIA-Linux-")?.split_once('-')?;
        let (version, ending) = rest.split_at(rest.find('-').unwrap_or(rest.len()));
        let (version, variant) = (version.parse().ok()?, Variant::of_ending(ending));
        Some(Self { architecture: architecture.to_owned(), version, variant })
    }
}

/// The name under which NVIDIA publishes a run file.
pub fn file_name(architecture: &str, version: &DriverVersion, variant: Variant) -> String {
    format!("NVIDIA-Linux-{architecture}-{version}{}.run", variant.ending())
}

fn refuse_other_files(prefix: &[u8]) -> Result<(), HeaderFault> {
    if prefix.is_empty() {
        Err(HeaderFault::Empty)
    } else if looks_like_html(prefix) {
        Err(HeaderFault::HtmlPage)
    } else if prefix.starts_with(b"!<arch>\ndebian-binary") {
        Err(HeaderFault::DebianPackage)
    } else if Compression::sniff(prefix).is_some() {
        Err(HeaderFault::Archive)
    } else if !prefix.starts_with(b"#!") {
        Err(HeaderFault::NotARunFile)
    } else {
        Ok(())
    }
}

/// Whether the first bytes of a file are those of a web page.
pub fn looks_like_html(prefix: &[u8]) -> bool {
    let text = prefix.strip_prefix(b"\xef\xbb\xbf").unwrap_or(prefix).trim_ascii_start();
    let begins = |tag: &[u8]| text.get(..tag.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(tag));
    begins(b"<!doctype") || begins(b"<html") || begins(b"<head") || begins(b"<?xml") || begins(b"<!--")
}

/// The assignments at the beginnings of the first lines; of two of a name the first counts.
struct Variables<'a>(&'a [u8]);

impl<'a> Variables<'a> {
    fn get(&self, name: &str) -> Option<&'a str> {
        let value = self.0.split(|byte| *byte == b'\n').take(VARIABLE_LINES).find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            std::str::from_utf8(value).ok()
        })?;
        let value = value.trim_end();
        Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value))
    }

    /// Why a variable is not there: the file is cut off, is another script, or lacks just this one.
    fn absence(&self, name: &'static str, prefix: &[u8]) -> HeaderFault {
        let ends_early = prefix.len() < HEADER_LIMIT;
        // The variables that come after the sums and the skip line in every era.
        let goes_on = ["label", "targetdir", "TARGET_ARCH"].iter().any(|later| self.get(later).is_some());
        match name {
            "skip" | "CRCsum" if self.get("filesizes").is_some() || self.get("offset").is_some() => {
                HeaderFault::OtherArchive
            }
            "skip" if goes_on => HeaderFault::NoSkip,
            "skip" if ends_early && self.get("CRCsum").is_some() => HeaderFault::Truncated { bytes: prefix.len() },
            _ => HeaderFault::OtherScript(name),
        }
    }
}

/// Where a line begins, counted from 1, in bytes.
fn line_offset(bytes: &[u8], line: u64) -> Option<u64> {
    let Some(newlines) = line.checked_sub(2) else { return Some(0) };
    let mut ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    ends.nth(usize::try_from(newlines).ok()?).map(|(index, _)| index as u64 + 1)
}

fn payload_offset(prefix: &[u8], skip: u64) -> Result<u64, HeaderFault> {
    if skip <= FIRST_SUMMED_LINE {
        return Err(HeaderFault::WrongSkip(skip.to_string()));
    }
    let whole_file = prefix.len() < HEADER_LIMIT;
    match line_offset(prefix, skip) {
        Some(offset) if (offset as usize) < prefix.len() => Ok(offset),
        Some(_) if whole_file => Err(HeaderFault::NoPayload),
        None if whole_file => Err(HeaderFault::Truncated { bytes: prefix.len() }),
        _ => Err(HeaderFault::WrongSkip(skip.to_string())),
    }
}

fn md5(text: &str) -> Result<Option<[u8; 16]>, HeaderFault> {
    let wrong = || HeaderFault::BadValue("MD5", shown(text));
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    let number = u128::from_str_radix(text, 16).map_err(|_| wrong())?;
    Ok((number != 0).then(|| number.to_be_bytes()))
}

fn version(variables: &Variables<'_>, name: Option<&Name>) -> Result<DriverVersion, HeaderFault> {
    match variables.get("version_string") {
        Some(text) => DriverVersion::from_str(text).map_err(|_| HeaderFault::BadValue("version_string", shown(text))),
        None => name.map(|name| name.version.clone()).ok_or(HeaderFault::Missing("version")),
    }
}

fn architecture(variables: &Variables<'_>, name: Option<&Name>) -> Result<String, HeaderFault> {
    let text = variables.get("TARGET_ARCH").map(str::to_owned).or_else(|| name.map(|name| name.architecture.clone()));
    let text = text.ok_or(HeaderFault::Missing("architecture"))?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    if (1..=32).contains(&text.len()) && text.bytes().all(plain) {
        Ok(text)
    } else {
        Err(HeaderFault::BadValue("TARGET_ARCH", shown(&text)))
    }
}

/// The target directory becomes part of paths, so it must be a plain name.
fn bare_name(text: &str) -> Result<String, HeaderFault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'+');
    match text {
        "" => Err(HeaderFault::Missing("target directory")),
        _ if text.len() <= 255 && !text.starts_with('.') && text.bytes().all(plain) => Ok(text.to_owned()),
        _ => Err(HeaderFault::BadValue("targetdir", shown(text))),
    }
}

/// The number in `Uncompressed size : 1047775 KB`, a line of what `--info` prints.
fn uncompressed_kib(header: &[u8]) -> Option<u64> {
    const LABEL: &[u8] = b"Uncompressed size";
    let line = header.split(|byte| *byte == b'\n').find(|line| line.windows(LABEL.len()).any(|part| part == LABEL))?;
    let text = std::str::from_utf8(line).ok()?;
    let mut words = text.rsplit_once(':')?.1.split_whitespace();
    let number = words.next()?.parse().ok()?;
    words.next()?.starts_with("KB").then_some(number)
}

/// A value from a file, short enough and clean enough to be printed.
fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "8ce86f0436042a196263063f1dcf8ba2";

    fn stub() -> String {
        format!(
            "#! /bin/sh\nCRCsum=1063493189\nMD5={MD5}\nskip=20\nskip_decompress=0\nsize_decompress=0\n\
             label=\"NVIDIA Accelerated Graphics Driver for Linux-x86_64 550.163.01\"\nversion_string=550.163.01\n\
             pkg_version=0\nscript=./nvidia-installer\ntargetdir=NVIDIA-Linux-x86_64-550.163.01\nscriptargs=\"\"\n\
             keep=n\nadd_this_kernel=n\nTARGET_OS=\"Linux\"\nTARGET_ARCH=\"x86_64\"\n\
             \x20 echo Uncompressed size : 1047775 KB\nexit 0\nEND_OF_STUB\n"
        )
    }

    fn file(stub: &str) -> Vec<u8> {
        [stub.as_bytes(), b"\x28\xb5\x2f\xfd payload\n\n"].concat()
    }

    #[test]
    fn every_field_is_read() {
        let header = Header::parse(&file(&stub())).unwrap();
        assert_eq!(header.crc, 1_063_493_189);
        assert_eq!(header.md5.unwrap()[..2], [0x8c, 0xe8]);
        assert_eq!((header.skip, header.payload_at), (20, stub().len() as u64));
        assert_eq!(header.summed_from, stub().find("skip=").unwrap() as u64);
        assert_eq!(header.version.as_str(), "550.163.01");
        assert_eq!(header.architecture, "x86_64");
        assert_eq!(header.target_directory, "NVIDIA-Linux-x86_64-550.163.01");
        assert_eq!(header.uncompressed_kib, Some(1_047_775));
    }

    #[test]
    fn the_order_of_the_lines_does_not_matter() {
        let swapped = stub()
            .replace("CRCsum=1063493189\n", "")
            .replace("skip=20\n", "CRCsum=1063493189\n")
            .replace("#! /bin/sh\n", "#!/bin/sh\nskip=20\n");
        let header = Header::parse(&file(&swapped)).unwrap();
        assert_eq!((header.skip, header.crc), (20, 1_063_493_189));
        assert_eq!(header.summed_from, swapped.find("CRCsum=").unwrap() as u64);
    }

    #[test]
    fn newlines_of_a_binary_decompressor_count_as_lines() {
        let mut bytes = stub().replace("skip=20", "skip=23").into_bytes();
        bytes.extend_from_slice(b"\x7fELF\n\xff\xfe\n\0\n\x28\xb5\x2f\xfd");
        let header = Header::parse(&bytes).unwrap();
        assert_eq!(bytes[header.payload_at as usize..], *b"\x28\xb5\x2f\xfd");
    }

    #[test]
    fn an_older_header_without_version_string_says_it_in_its_directory() {
        let older = stub().replace("version_string=550.163.01\n", "major_version=550\n");
        assert_eq!(Header::parse(&file(&older)).unwrap().version.as_str(), "550.163.01");
    }

    #[test]
    fn thirty_two_zeros_are_no_md5_sum() {
        let without = stub().replace(MD5, &"0".repeat(32));
        assert_eq!(Header::parse(&file(&without)).unwrap().md5, None);
    }

    #[test]
    fn each_fault_has_its_name() {
        let fault = |bytes: &[u8]| Header::parse(bytes).unwrap_err();
        let changed = |from: &str, to: &str| fault(&file(&stub().replace(from, to)));
        assert_eq!(fault(b""), HeaderFault::Empty);
        assert_eq!(fault(b"\n <!DOCTYPE html><p>404"), HeaderFault::HtmlPage);
        assert_eq!(fault(b"\x7fELF"), HeaderFault::NotARunFile);
        assert_eq!(fault(b"!<arch>\ndebian-binary   1"), HeaderFault::DebianPackage);
        assert_eq!(fault(b"\xfd7zXZ\0 cuda_nvcc-linux-x86_64"), HeaderFault::Archive);
        let cuda = b"#!/bin/sh\n# makeself\nCRCsum=\"1\"\nMD5=\"0\"\nlabel=\"CUDA\"\nfilesizes=\"2\"\noffset=1\n";
        assert_eq!(fault(cuda), HeaderFault::OtherArchive);
        assert_eq!(fault(b"#!/bin/sh\necho hello\n"), HeaderFault::OtherScript("CRCsum"));
        assert_eq!(fault(stub().as_bytes()), HeaderFault::NoPayload);
        assert_eq!(fault(&stub().as_bytes()[..300]), HeaderFault::Truncated { bytes: 300 });
        assert_eq!(fault(&stub().as_bytes()[..70]), HeaderFault::Truncated { bytes: 70 });
        assert_eq!(changed("skip=20\n", ""), HeaderFault::NoSkip);
        assert_eq!(changed("skip=20", "skip=3"), HeaderFault::WrongSkip("3".into()));
        assert_eq!(changed("skip=20", "skip=twenty"), HeaderFault::WrongSkip("twenty".into()));
        assert_eq!(changed("CRCsum=1", "CRCsum=-1"), HeaderFault::BadValue("CRCsum", "-1063493189".into()));
        assert_eq!(changed(MD5, "abc"), HeaderFault::BadValue("MD5", "abc".into()));
        assert_eq!(changed("=550.163.01", "=next"), HeaderFault::BadValue("version_string", "next".into()));
        assert_eq!(changed("\"x86_64\"", "\"../x\""), HeaderFault::BadValue("TARGET_ARCH", "../x".into()));
        assert_eq!(changed("targetdir=", "targetdir=/etc/"), {
            HeaderFault::BadValue("targetdir", "/etc/NVIDIA-Linux-x86_64-550.163.01".into())
        });
    }

    #[test]
    fn a_payload_beyond_the_limit_is_a_wrong_skip() {
        let mut bytes = file(&stub().replace("skip=20", "skip=4000"));
        bytes.resize(HEADER_LIMIT, b'x');
        assert_eq!(Header::parse(&bytes).unwrap_err(), HeaderFault::WrongSkip("4000".into()));
    }

    #[test]
    fn names_say_version_and_architecture() {
        let name = |text| Name::parse(text).map(|name| (name.architecture, name.version.to_string()));
        let x86 = Some(("x86_64".to_owned(), "580.76.05".to_owned()));
        assert_eq!(name("NVIDIA-Linux-x86_64-580.76.05.run"), x86);
        assert_eq!(name("NVIDIA-Linux-x86_64-580.76.05-no-compat32.run"), x86);
        assert_eq!(name("NVIDIA-Linux-aarch64-580.76.05"), Some(("aarch64".to_owned(), "580.76.05".to_owned())));
        assert_eq!(name("cuda_12.8.0_570.86.10_linux.run"), None);
        assert_eq!(name("driver.run"), None);
        let variant = |text| Name::parse(text).and_then(|name| name.variant);
        assert_eq!(variant("NVIDIA-Linux-x86_64-580.76.05"), Some(Variant::Full));
        assert_eq!(variant("NVIDIA-Linux-x86_64-580.76.05-no-compat32.run"), Some(Variant::NoCompat32));
        assert_eq!(variant("NVIDIA-Linux-x86_64-580.76.05-mine.run"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..400), cut in 0usize..600) {
            let mut bytes = file(&stub());
            bytes.truncate(cut);
            bytes.extend(tail);
            if let Ok(header) = Header::parse(&bytes) {
                proptest::prop_assert!((header.payload_at as usize) < bytes.len());
            }
        }
    }
}
