//! The order of the entries, which the loader's binary search relies on (`compare` in `elf/cache.c`,
//! `_dl_cache_libcmp` in `elf/dl-cache.c`, glibc 2.36).

use std::cmp::Ordering;

use super::{CachedLibrary, Hardware};

/// Which of two entries comes first; those that are equal keep the order in which they were added.
pub(super) fn compare(one: &CachedLibrary, other: &CachedLibrary) -> Ordering {
    // Downwards, all of them: the loader's search expects the highest name first.
    compare_names(&other.soname, &one.soname)
        .then_with(|| other.flags.cmp(&one.flags))
        .then_with(|| compare_hardware(&one.hardware, &other.hardware))
}

/// Names of hardware come first, by the alphabet: the loader stops at the first entry without one.
fn compare_hardware(one: &Hardware, other: &Hardware) -> Ordering {
    match (one, other) {
        (Hardware::Named(one), Hardware::Named(other)) => one.cmp(other),
        (Hardware::Named(_), Hardware::Bits(_)) => Ordering::Less,
        (Hardware::Bits(_), Hardware::Named(_)) => Ordering::Greater,
        // The most specific first.
        (Hardware::Bits(one), Hardware::Bits(other)) => {
            other.count_ones().cmp(&one.count_ones()).then_with(|| other.cmp(one))
        }
    }
}

/// Compares as the loader does: digits are numbers, and higher than everything else.
///
/// The loader overflows with numbers beyond 2147483647; here they keep their value, so that the order stays an order.
pub(super) fn compare_names(one: &[u8], other: &[u8]) -> Ordering {
    let (mut one, mut other) = (one, other);
    loop {
        match (one.first(), other.first()) {
            (Some(first), Some(second)) if first.is_ascii_digit() && second.is_ascii_digit() => {
                let (left, right) = (take_number(&mut one), take_number(&mut other));
                match left.len().cmp(&right.len()).then_with(|| left.cmp(right)) {
                    Ordering::Equal => {}
                    unequal => return unequal,
                }
            }
            (Some(first), Some(second)) if first == second => (one, other) = (&one[1..], &other[1..]),
            (None, None) => return Ordering::Equal,
            (first, second) => return rank(first).cmp(&rank(second)),
        }
    }
}

/// The digits at the beginning, without zeros in front, and the rest.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    *text = rest;
    let zeros = number.iter().position(|byte| *byte != b'0').unwrap_or(number.len());
    &number[zeros..]
}

/// A byte, or the end of a name, as a number to be compared. `char` has a sign on x86.
fn rank(byte: Option<&u8>) -> i32 {
    match byte {
        None => 0,
        Some(digit) if digit.is_ascii_digit() => 256 + i32::from(*digit),
        Some(byte) => i32::from(byte.cast_signed()),
    }
}
