//! Writes the smallest ELF shared objects that `ldconfig` links by their SONAME and the loader loads.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "it belongs to test programs and examples")]

/// What ELF has in two sizes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Width {
    Bits32,
    Bits64,
}

/// A shared object for x86_64 with this SONAME, and nothing in it but `padding` bytes.
pub fn shared_object(soname: &str, padding: usize) -> Vec<u8> {
    Width::Bits64.shared_object(soname, padding)
}

/// The same for x86, of 32 bits.
pub fn shared_object_of_32_bits(soname: &str, padding: usize) -> Vec<u8> {
    Width::Bits32.shared_object(soname, padding)
}

impl Width {
    fn shared_object(self, soname: &str, padding: usize) -> Vec<u8> {
        let strings = [b"\0", soname.as_bytes(), b"\0"].concat();
        let strings_at = self.file_header_size() + 2 * self.program_header_size();
        let symbols_at = (strings_at + strings.len() as u64).next_multiple_of(8);
        // One undefined symbol, as every symbol table begins, and a hash table of one empty bucket for it.
        let hash_at = symbols_at + self.symbol_size();
        let dynamic_at = hash_at + 16;
        let dynamic: [(u64, u64); 7] = [
            (14, 1),                    // DT_SONAME
            (5, strings_at),            // DT_STRTAB
            (10, strings.len() as u64), // DT_STRSZ
            (6, symbols_at),            // DT_SYMTAB
            (11, self.symbol_size()),   // DT_SYMENT
            (4, hash_at),               // DT_HASH
            (0, 0),                     // DT_NULL
        ];
        let dynamic_size = dynamic.len() as u64 * 2 * self.word_size();
        let size = dynamic_at + dynamic_size + padding as u64;

        let mut file = self.file_header();
        // PT_LOAD, readable and writable: the loader relocates in it.
        file.extend(self.program_header(1, 6, [0, size, 0x1000]));
        // PT_DYNAMIC
        file.extend(self.program_header(2, 6, [dynamic_at, dynamic_size, 8]));
        file.extend(strings);
        file.resize(usize::try_from(hash_at).unwrap(), 0);
        for word in [1u32, 1, 0, 0] {
            file.extend(word.to_le_bytes());
        }
        for (tag, value) in dynamic {
            file.extend(self.word(tag));
            file.extend(self.word(value));
        }
        // Not zeros: a file that compresses to nothing would make a run file that no test of progress can use.
        file.extend((0..padding as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8));
        file
    }

    fn word(self, value: u64) -> Vec<u8> {
        match self {
            Self::Bits32 => u32::try_from(value).unwrap().to_le_bytes().to_vec(),
            Self::Bits64 => value.to_le_bytes().to_vec(),
        }
    }

    fn word_size(self) -> u64 {
        if self == Self::Bits32 { 4 } else { 8 }
    }

    fn file_header_size(self) -> u64 {
        if self == Self::Bits32 { 0x34 } else { 0x40 }
    }

    fn program_header_size(self) -> u64 {
        if self == Self::Bits32 { 0x20 } else { 0x38 }
    }

    fn symbol_size(self) -> u64 {
        if self == Self::Bits32 { 16 } else { 24 }
    }

    fn file_header(self) -> Vec<u8> {
        // Little endian, version 1; for x86 or x86_64.
        let (class, machine) = if self == Self::Bits32 { (1, 3u16) } else { (2, 62u16) };
        let mut header = vec![0x7f, b'E', b'L', b'F', class, 1, 1];
        header.resize(16, 0);
        header.extend(3u16.to_le_bytes()); // a shared object
        header.extend(machine.to_le_bytes());
        header.extend(1u32.to_le_bytes());
        for word in [0, self.file_header_size(), 0] {
            header.extend(self.word(word)); // no entry, program headers behind this, no section headers
        }
        header.extend(0u32.to_le_bytes());
        for half in [self.file_header_size(), self.program_header_size(), 2, self.word_size() * 8, 0, 0] {
            header.extend(u16::try_from(half).unwrap().to_le_bytes()); // sizes and numbers of headers
        }
        header
    }

    fn program_header(self, kind: u32, flags: u32, [at, size, alignment]: [u64; 3]) -> Vec<u8> {
        let words = [at, at, at, size, size].map(|word| self.word(word)).concat();
        let (kind, flags) = (kind.to_le_bytes(), flags.to_le_bytes());
        match self {
            Self::Bits32 => [&kind[..], &words, &flags, &self.word(alignment)].concat(),
            Self::Bits64 => [&kind[..], &flags, &words, &self.word(alignment)].concat(),
        }
    }
}
