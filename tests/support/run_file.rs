//! Builds run files in NVIDIA's format around any files, and broken ones of every sort that matters.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test program and example uses a part of it")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot be prepared has failed")]

use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use md5::{Digest, Md5};

#[path = "run_file_broken.rs"]
mod broken;

#[allow(unused_imports, reason = "as above")]
pub use broken::Broken;

const STUB: &str = include_str!("run_file_stub.sh");
const SUMS_START_AT_LINE: usize = 4;

/// What the payload is compressed with. NVIDIA: xz before 530.30.02, zstd since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Zstd,
    Xz,
    Gzip,
    Bzip2,
    None,
}

impl Compression {
    /// What NVIDIA compresses a driver of this branch with.
    pub fn of_branch(branch: u32) -> Self {
        if branch >= 530 { Self::Zstd } else { Self::Xz }
    }

    fn program(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Xz => "xz",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::None => "cat",
        }
    }

    fn encoder<'a>(self, out: &'a mut dyn Write) -> std::io::Result<Encoder<'a>> {
        Ok(match self {
            Self::Zstd => Encoder::Zstd(zstd::Encoder::new(out, 3)?),
            Self::Xz => Encoder::Xz(liblzma::write::XzEncoder::new(out, 1)),
            Self::Gzip => Encoder::Gzip(flate2::write::GzEncoder::new(out, flate2::Compression::fast())),
            Self::Bzip2 => Encoder::Bzip2(bzip2::write::BzEncoder::new(out, bzip2::Compression::fast())),
            Self::None => Encoder::None(out),
        })
    }
}

enum Encoder<'a> {
    Zstd(zstd::Encoder<'static, &'a mut dyn Write>),
    Xz(liblzma::write::XzEncoder<&'a mut dyn Write>),
    Gzip(flate2::write::GzEncoder<&'a mut dyn Write>),
    Bzip2(bzip2::write::BzEncoder<&'a mut dyn Write>),
    None(&'a mut dyn Write),
}

impl Encoder<'_> {
    fn finish(self) -> std::io::Result<()> {
        match self {
            Self::Zstd(encoder) => encoder.finish().map(drop),
            Self::Xz(encoder) => encoder.finish().map(drop),
            Self::Gzip(encoder) => encoder.finish().map(drop),
            Self::Bzip2(encoder) => encoder.finish().map(drop),
            Self::None(_) => Ok(()),
        }
    }
}

impl Write for Encoder<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Self::Zstd(encoder) => encoder.write(bytes),
            Self::Xz(encoder) => encoder.write(bytes),
            Self::Gzip(encoder) => encoder.write(bytes),
            Self::Bzip2(encoder) => encoder.write(bytes),
            Self::None(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Content {
    Bytes(Vec<u8>),
    File(PathBuf),
    LinkTo(String),
}

#[derive(Debug, Clone)]
struct Member {
    path: String,
    mode: u32,
    content: Content,
}

impl Member {
    fn size(&self) -> std::io::Result<u64> {
        match &self.content {
            Content::Bytes(bytes) => Ok(bytes.len() as u64),
            Content::File(path) => Ok(fs_err::metadata(path)?.len()),
            Content::LinkTo(_) => Ok(0),
        }
    }
}

/// A run file to be. Members get the name `./path` in the tar, root as owner, and keep the order they are given in.
#[derive(Debug, Clone)]
pub struct RunFile {
    version: String,
    architecture: String,
    ending: String,
    compression: Compression,
    members: Vec<Member>,
    archive: Option<Vec<u8>>,
    uncompressed_kb: Option<u64>,
    decompressor: Option<Vec<u8>>,
    advanced_options: String,
    skip_is_off_by: usize,
    md5_is_zero: bool,
    payload_is_damaged: bool,
}

impl RunFile {
    /// An x86_64 run file of this version without members, compressed with zstd.
    pub fn new(version: &str) -> Self {
        Self {
            version: version.to_owned(),
            architecture: "x86_64".to_owned(),
            ending: String::new(),
            compression: Compression::Zstd,
            members: Vec::new(),
            archive: None,
            uncompressed_kb: None,
            decompressor: None,
            advanced_options: "This stub knows no options of its script.".to_owned(),
            skip_is_off_by: 0,
            md5_is_zero: false,
            payload_is_damaged: false,
        }
    }

    /// The name that NVIDIA would publish it under.
    pub fn file_name(&self) -> String {
        format!("{}.run", self.target_directory())
    }

    fn target_directory(&self) -> String {
        format!("NVIDIA-Linux-{}-{}{}", self.architecture, self.version, self.ending)
    }

    /// What its name and its directory have behind the version, such as `-no-compat32`.
    pub fn ending(mut self, ending: &str) -> Self {
        self.ending = ending.to_owned();
        self
    }

    pub fn architecture(mut self, architecture: &str) -> Self {
        self.architecture = architecture.to_owned();
        self
    }

    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Adds a regular file; `path` without the leading `./`.
    pub fn member(mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) -> Self {
        self.members.push(Member { path: path.to_owned(), mode, content: Content::Bytes(bytes.into()) });
        self
    }

    /// Adds a regular file whose content is read from `source` when the run file is written.
    pub fn member_from(mut self, path: &str, mode: u32, source: &Path) -> Self {
        self.members.push(Member { path: path.to_owned(), mode, content: Content::File(source.to_owned()) });
        self
    }

    /// Adds a symbolic link.
    pub fn link(mut self, path: &str, target: &str) -> Self {
        self.members.push(Member { path: path.to_owned(), mode: 0o777, content: Content::LinkTo(target.to_owned()) });
        self
    }

    /// Takes this tar archive in the place of members, whatever it holds.
    pub fn archive(mut self, tar: impl Into<Vec<u8>>) -> Self {
        self.archive = Some(tar.into());
        self
    }

    /// What `--info` says is needed to unpack it; counted from the members unless said here.
    pub fn uncompressed_size(mut self, bytes: u64) -> Self {
        self.uncompressed_kb = Some(bytes.div_ceil(1024));
        self
    }

    /// Embeds a program for systems that have no decompressor; it is called as `PROGRAM -d -c`.
    pub fn decompressor(mut self, program: impl Into<Vec<u8>>) -> Self {
        self.decompressor = Some(program.into());
        self
    }

    /// What `--advanced-options` prints.
    pub fn advanced_options(mut self, text: &str) -> Self {
        self.advanced_options = text.to_owned();
        self
    }

    /// The whole file.
    pub fn build(&self) -> Vec<u8> {
        let mut body = std::io::Cursor::new(Vec::new());
        let sums = self.write_body(&mut body).unwrap();
        let mut file = sums.into_bytes();
        file.extend(body.into_inner());
        file
    }

    /// Writes the whole file, executable, without holding more than a piece of it in memory.
    pub fn write_to(&self, path: &Path) -> std::io::Result<()> {
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut body = tempfile::tempfile_in(directory)?;
        let sums = self.write_body(&mut body)?;
        body.seek(SeekFrom::Start(0))?;
        let mut file = fs_err::File::create(path)?;
        file.write_all(sums.as_bytes())?;
        std::io::copy(&mut body, &mut file)?;
        let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        fs_err::set_permissions(path, executable)
    }

    /// Writes line 4 to the end, which the sums are over, and returns lines 1 to 3, which hold the sums.
    fn write_body(&self, out: &mut dyn Write) -> std::io::Result<String> {
        let mut out = Summing::new(out);
        out.write_all(&self.front()?)?;
        let mut payload = Damaging { out: &mut out, left: if self.payload_is_damaged { 40 } else { u64::MAX } };
        self.write_payload(&mut payload)?;
        let (crc, md5) = out.sums();
        let md5 = if self.md5_is_zero { "0".repeat(32) } else { md5 };
        Ok(format!("#! /bin/sh\nCRCsum={crc}\nMD5={md5}\n"))
    }

    /// Line 4 to the payload.
    fn front(&self) -> std::io::Result<Vec<u8>> {
        let stub = self.stub()?;
        // The values have no line breaks, so their lines can be counted before they are known.
        let lines_before = SUMS_START_AT_LINE - 1 + self.variables(0, 0, 0).lines().count() + stub.lines().count();
        let mut embedded = self.decompressor.clone().unwrap_or_default();
        if !embedded.is_empty() {
            embedded.push(b'\n');
        }
        let embedded_lines = embedded.iter().filter(|byte| **byte == b'\n').count();
        let skip = lines_before + embedded_lines + 1 + self.skip_is_off_by;
        let mut front = self.variables(skip, lines_before + 1, embedded_lines).into_bytes();
        front.extend(stub.into_bytes());
        front.extend(embedded);
        Ok(front)
    }

    fn variables(&self, skip: usize, skip_decompress: usize, size_decompress: usize) -> String {
        let (version, architecture, directory) = (&self.version, &self.architecture, self.target_directory());
        format!(
            "skip={skip}\n\
             skip_decompress={skip_decompress}\n\
             size_decompress={size_decompress}\n\
             label=\"NVIDIA Accelerated Graphics Driver for Linux-{architecture} {version}\"\n\
             version_string={version}\n\
             pkg_version=0\n\
             script=./nvidia-installer\n\
             targetdir={directory}\n\
             scriptargs=\"\"\n\
             keep=n\n\
             add_this_kernel=n\n\
             apply_patch=n\n"
        )
    }

    fn stub(&self) -> std::io::Result<String> {
        let sizes = self.members.iter().map(Member::size).sum::<std::io::Result<u64>>()?;
        let kilobytes = self.uncompressed_kb.unwrap_or(sizes.div_ceil(1024));
        Ok(STUB
            .replace("@ARCHITECTURE@", &self.architecture)
            .replace("@DECOMPRESSOR@", self.compression.program())
            .replace("@COMPRESSION@", self.compression.program())
            .replace("@UNCOMPRESSED_KB@", &kilobytes.to_string())
            .replace("@DATE@", "Thu Jan  1 00:00:00 UTC 1970")
            .replace("@ADVANCED_OPTIONS@", &self.advanced_options))
    }

    fn write_payload(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut encoder = self.compression.encoder(out)?;
        if let Some(archive) = &self.archive {
            encoder.write_all(archive)?;
            return encoder.finish();
        }
        let mut tar = tar::Builder::new(&mut encoder);
        for member in &self.members {
            let mut header = header_of(member)?;
            match &member.content {
                Content::Bytes(bytes) => tar.append(&header, bytes.as_slice())?,
                Content::File(path) => tar.append(&header, fs_err::File::open(path)?)?,
                Content::LinkTo(target) => {
                    header.set_link_name_literal(target)?;
                    header.set_cksum();
                    tar.append(&header, std::io::empty())?;
                }
            }
        }
        tar.into_inner()?;
        encoder.finish()
    }
}

fn header_of(member: &Member) -> std::io::Result<tar::Header> {
    let mut header = tar::Header::new_gnu();
    // Written by hand: `set_path` drops the `./` that NVIDIA's members have.
    let name = format!("./{}", member.path);
    let field = &mut header.as_old_mut().name;
    assert!(name.len() < field.len(), "`{name}` is too long for a tar header");
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_entry_type(match member.content {
        Content::LinkTo(_) => tar::EntryType::Symlink,
        Content::Bytes(_) | Content::File(_) => tar::EntryType::Regular,
    });
    header.set_mode(member.mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_username("root")?;
    header.set_groupname("root")?;
    header.set_mtime(0);
    header.set_size(member.size()?);
    header.set_cksum();
    Ok(header)
}

/// Passes bytes on and computes the two sums of a run file's header over them.
struct Summing<'a> {
    out: &'a mut dyn Write,
    md5: Md5,
    crc: crc::Digest<'static, u32>,
    length: u64,
}

static CKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&crc::CRC_32_CKSUM);

impl<'a> Summing<'a> {
    fn new(out: &'a mut dyn Write) -> Self {
        Self { out, md5: Md5::new(), crc: CKSUM.digest(), length: 0 }
    }

    fn sums(mut self) -> (u32, String) {
        // `cksum` appends the length, lowest byte first, in as few bytes as it takes.
        let significant = 8 - self.length.leading_zeros() as usize / 8;
        self.crc.update(&self.length.to_le_bytes()[..significant]);
        let md5 = self.md5.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        (self.crc.finalize(), md5)
    }
}

impl Write for Summing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.md5.update(&bytes[..written]);
        self.crc.update(&bytes[..written]);
        self.length += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Passes bytes on and inverts all that come after the first `left`: what a bad disk does before the sums are made.
struct Damaging<'a> {
    out: &'a mut dyn Write,
    left: u64,
}

impl Write for Damaging<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let whole = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if whole > 0 {
            let written = self.out.write(&bytes[..whole])?;
            self.left -= written as u64;
            return Ok(written);
        }
        let inverted: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
        self.out.write(&inverted)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
