//! How the payload of a run file is compressed: no header line says it, only the first bytes do.

/// The compressions that NVIDIA has used: gzip up to about 304, xz up to 525, zstd since 530.30.02.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// A bare tar archive.
    None,
    /// RFC 1952.
    Gzip,
    /// What `bzip2` writes.
    Bzip2,
    /// What `xz` writes.
    Xz,
    /// RFC 8878.
    Zstd,
}

impl Compression {
    /// How many of the first bytes [`Compression::sniff`] wants to see: a bare tar shows itself at byte 257.
    pub const SNIFFED: usize = 262;

    /// What these first bytes of a payload announce; none if they announce nothing that is known.
    pub fn sniff(beginning: &[u8]) -> Option<Self> {
        match beginning {
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Self::Xz),
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', ..] => Some(Self::Bzip2),
            _ if beginning.get(257..Self::SNIFFED) == Some(b"ustar") => Some(Self::None),
            _ => None,
        }
    }

    /// The name of the program that undoes it; `none` for a bare tar.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_the_compression() {
        let mut tar = vec![0; 512];
        tar[257..262].copy_from_slice(b"ustar");
        assert_eq!(Compression::sniff(&tar), Some(Compression::None));
        assert_eq!(Compression::sniff(b"\x28\xb5\x2f\xfd\x04"), Some(Compression::Zstd));
        assert_eq!(Compression::sniff(b"\xfd7zXZ\0\0"), Some(Compression::Xz));
        assert_eq!(Compression::sniff(b"\x1f\x8b\x08"), Some(Compression::Gzip));
        assert_eq!(Compression::sniff(b"BZh9"), Some(Compression::Bzip2));
    }

    #[test]
    fn other_bytes_tell_nothing() {
        assert_eq!(Compression::sniff(b""), None);
        assert_eq!(Compression::sniff(b"\x28\xb5\x2f"), None);
        assert_eq!(Compression::sniff(&[b'x'; 600]), None);
    }
}
