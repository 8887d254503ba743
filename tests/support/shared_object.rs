//! Writes the smallest ELF shared objects that `ldconfig` links by their SONAME and the loader loads.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "it belongs to test programs and examples")]

const HEADERS: u64 = 0x40 + 2 * 0x38;

/// A shared object for x86_64 with this SONAME, and nothing in it but `padding` bytes.
pub fn shared_object(soname: &str, padding: usize) -> Vec<u8> {
    let strings = [b"\0", soname.as_bytes(), b"\0"].concat();
    let strings_at = HEADERS;
    let symbols_at = (strings_at + strings.len() as u64).next_multiple_of(8);
    // One undefined symbol, as every symbol table begins, and a hash table of one empty bucket for it.
    let hash_at = symbols_at + 24;
    let dynamic_at = hash_at + 16;
    let dynamic: [(u64, u64); 7] = [
        (14, 1),                    // DT_SONAME
        (5, strings_at),            // DT_STRTAB
        (10, strings.len() as u64), // DT_STRSZ
        (6, symbols_at),            // DT_SYMTAB
        (11, 24),                   // DT_SYMENT
        (4, hash_at),               // DT_HASH
        (0, 0),                     // DT_NULL
    ];
    let size = dynamic_at + dynamic.len() as u64 * 16 + padding as u64;

    let mut file = file_header();
    file.extend(program_header(1, 6, 0, size, 0x1000)); // PT_LOAD, readable and writable: the loader relocates in it
    file.extend(program_header(2, 6, dynamic_at, dynamic.len() as u64 * 16, 8)); // PT_DYNAMIC
    file.extend(strings);
    file.resize(usize::try_from(hash_at).unwrap(), 0);
    for word in [1u32, 1, 0, 0] {
        file.extend(word.to_le_bytes());
    }
    for (tag, value) in dynamic {
        file.extend(tag.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    // Not zeros: a file that compresses to nothing would make a run file that no test of progress can use.
    file.extend((0..padding as u64).map(|index| (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8));
    file
}

fn file_header() -> Vec<u8> {
    let mut header = b"\x7fELF\x02\x01\x01".to_vec(); // 64 bit, little endian, version 1
    header.resize(16, 0);
    header.extend(3u16.to_le_bytes()); // a shared object
    header.extend(62u16.to_le_bytes()); // for x86_64
    header.extend(1u32.to_le_bytes());
    for word in [0u64, 0x40, 0] {
        header.extend(word.to_le_bytes()); // no entry, program headers at 0x40, no section headers
    }
    header.extend(0u32.to_le_bytes());
    for half in [0x40u16, 0x38, 2, 0x40, 0, 0] {
        header.extend(half.to_le_bytes()); // sizes and numbers of headers
    }
    header
}

fn program_header(kind: u32, flags: u32, at: u64, size: u64, alignment: u64) -> Vec<u8> {
    let mut header = [kind.to_le_bytes(), flags.to_le_bytes()].concat();
    for word in [at, at, at, size, size, alignment] {
        header.extend(word.to_le_bytes());
    }
    header
}
