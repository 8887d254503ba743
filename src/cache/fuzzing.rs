//! What must hold for any list of sums; the fuzzer looks for one where it does not.

use super::sum_list::{self, SumList};
use crate::driver::Sha256;

const NAME: &str = "NVIDIA-Linux-x86_64-580.76.05.run";

/// Any text as a list of sums: a sum that is set is found again, also in what is written, and no other sum changes.
///
/// # Panics
/// It is not found, or another has changed.
pub fn sum_list(text: &str) {
    let mut list = SumList::parse(text);
    let others = ["a.run", "NVIDIA-Linux-x86_64-580.82.09.run"];
    let before = others.map(|name| list.find(name));
    // Must not panic; what it finds in other texts, only they know.
    let _ = sum_list::published(text, NAME);
    let sum = Sha256::from_bytes([0xa5; 32]);
    list.set(NAME, sum);
    for list in [SumList::parse(&list.to_string()), list] {
        assert_eq!(list.find(NAME), Ok(Some(sum)));
        assert_eq!(others.map(|name| list.find(name)), before);
    }
}

#[cfg(test)]
mod tests {
    use fs_err::{read_dir, read_to_string};

    #[test]
    fn a_sum_that_is_set_in_a_seed_is_found_again() {
        for seed in read_dir("fuzz/seeds/sum_list").unwrap() {
            super::sum_list(&read_to_string(seed.unwrap().path()).unwrap());
        }
    }
}
