//! The ways in which a run file can be wrong.

use super::{Content, RunFile};

/// One way to be wrong. Where the sums are said to hold, `sh FILE --check` accepts the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// The second half of the payload is missing, as after an interrupted download.
    Truncated,
    /// It ends in the middle of the stub.
    TruncatedInTheHeader,
    /// It ends where the payload should begin.
    HeaderOnly,
    /// One bit of the stub is another.
    FlippedInTheHeader,
    /// One bit of the payload is another.
    FlippedInThePayload,
    /// Some bytes follow the payload.
    TrailingGarbage,
    /// What a web server says with `200 OK` when it means no.
    HtmlPage,
    /// No bytes at all; `sh FILE --check` accepts it.
    Empty,
    /// The header names another version; the sums hold.
    OtherVersionInTheHeader,
    /// The header names another architecture; the sums hold.
    OtherArchitecture,
    /// The `.manifest` inside is of another version; the sums hold.
    OtherVersionInside,
    /// `skip` points ten lines behind the start of the payload; the sums hold.
    WrongSkip,
    /// `MD5` is 32 zeros, which means none; the CRC holds, and the stub's install path refuses.
    ZeroMd5,
    /// The payload cannot be unpacked; the sums hold.
    DamagedPayload,
}

/// The version that a file has in the place where it should have its own.
pub const OTHER_VERSION: &str = "999.99.99";

impl Broken {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Truncated,
        Self::TruncatedInTheHeader,
        Self::HeaderOnly,
        Self::FlippedInTheHeader,
        Self::FlippedInThePayload,
        Self::TrailingGarbage,
        Self::HtmlPage,
        Self::Empty,
        Self::OtherVersionInTheHeader,
        Self::OtherArchitecture,
        Self::OtherVersionInside,
        Self::WrongSkip,
        Self::ZeroMd5,
        Self::DamagedPayload,
    ];
}

impl RunFile {
    /// The whole file, wrong in one way. It keeps the name [`RunFile::file_name`] that it would have if it were right.
    pub fn broken(&self, how: Broken) -> Vec<u8> {
        let mut file = self.build();
        match how {
            Broken::Truncated => file.truncate((self.start_of_payload(&file) + file.len()) / 2),
            Broken::TruncatedInTheHeader => file.truncate(2000),
            Broken::HeaderOnly => file.truncate(self.start_of_payload(&file)),
            Broken::FlippedInTheHeader => file[1500] ^= 1,
            Broken::FlippedInThePayload => {
                let middle = (self.start_of_payload(&file) + file.len()) / 2;
                file[middle] ^= 1;
            }
            Broken::TrailingGarbage => file.extend(b"garbage"),
            Broken::HtmlPage => file = b"<!DOCTYPE html>\n<html><body>404 Not Found</body></html>\n".to_vec(),
            Broken::Empty => file.clear(),
            Broken::OtherVersionInTheHeader => {
                file = Self { version: OTHER_VERSION.to_owned(), ..self.clone() }.build();
            }
            Broken::OtherArchitecture => file = self.clone().architecture("aarch64").build(),
            Broken::OtherVersionInside => file = self.with_other_version_inside().build(),
            Broken::WrongSkip => file = Self { skip_is_off_by: 10, ..self.clone() }.build(),
            Broken::ZeroMd5 => file = Self { md5_is_zero: true, ..self.clone() }.build(),
            Broken::DamagedPayload => file = Self { payload_is_damaged: true, ..self.clone() }.build(),
        }
        file
    }

    fn start_of_payload(&self, file: &[u8]) -> usize {
        let sums: usize = file.split_inclusive(|byte| *byte == b'\n').take(3).map(<[u8]>::len).sum();
        sums + self.front().unwrap().len()
    }

    fn with_other_version_inside(&self) -> Self {
        let mut other = self.clone();
        let manifest = other.members.iter_mut().find(|member| member.path == ".manifest");
        let Content::Bytes(bytes) = &mut manifest.expect("a member `.manifest`").content else {
            panic!("the member `.manifest` is given as bytes");
        };
        let text = String::from_utf8(bytes.clone()).unwrap();
        *bytes = text.replace(&self.version, OTHER_VERSION).into_bytes();
        other
    }
}
