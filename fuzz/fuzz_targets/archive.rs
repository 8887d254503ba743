//! Any bytes as the archive of a driver: what is admitted stays within its tree. The sums of the headers are made right,
//! for with a wrong one nothing behind it is read.
#![no_main]

use libfuzzer_sys::fuzz_target;

const BLOCK: usize = 512;
const SUM: std::ops::Range<usize> = 148..156;
const SIZE: std::ops::Range<usize> = 124..136;

fuzz_target!(|bytes: &[u8]| phoenix_nvidia::store::fuzzing::archive(&with_sums(bytes)));

fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let mut at = 0;
    while let Some(header) = bytes.get_mut(at..at + BLOCK).filter(|header| header.iter().any(|byte| *byte != 0)) {
        header[SUM].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let size = std::str::from_utf8(&header[SIZE]).unwrap_or_default();
        let size = usize::from_str_radix(size.trim_matches(['\0', ' ']), 8).unwrap_or_default();
        at = at.saturating_add(BLOCK).saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
        if at > bytes.len() {
            break;
        }
    }
    bytes
}
