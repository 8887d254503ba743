//! `/etc/subuid` and `/etc/subgid`: which ids of the host `newuidmap` and `newgidmap` let root give to a container.

use crate::sys::idmap::Range;

/// The first ids of the host among these ranges that the text of one of the files does not assign to root.
///
/// The rules of shadow 4.13 (`verify_range` in `libmisc/idmapping.c`, `have_range` in `lib/subordinateio.c`): several lines
/// together may give a range, and root's own id needs none.
pub fn not_given(text: &str, ranges: &[Range]) -> Option<Range> {
    let given: Vec<(u64, u64)> = text.lines().filter_map(of_root).collect();
    ranges.iter().filter(|range| (range.outside, range.count) != (0, 1)).find(|range| !covers(&given, range)).copied()
}

/// The ids of a line, from the first to the one behind the last, where they are root's.
fn of_root(line: &str) -> Option<(u64, u64)> {
    let parts: Vec<&str> = line.trim().split(':').collect();
    let ["root" | "0", first, count] = parts[..] else { return None };
    let (first, count) = (first.parse::<u64>().ok()?, count.parse::<u64>().ok()?);
    Some((first, first.saturating_add(count)))
}

fn covers(given: &[(u64, u64)], range: &Range) -> bool {
    let end = u64::from(range.outside) + u64::from(range.count);
    let mut reached = u64::from(range.outside);
    while reached < end {
        match given.iter().find(|(first, behind)| *first <= reached && reached < *behind) {
            Some((_, behind)) => reached = *behind,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gives(text: &str, outside: u32, count: u32) -> bool {
        not_given(text, &[Range { inside: 0, outside, count }]).is_none()
    }

    #[test]
    fn only_roots_own_ranges_are_roots_to_give() {
        assert!(gives("root:100000:65536", 100_000, 65_536));
        assert!(gives("# all\n0:100000:1000000000\n", 100_000, 65_536));
        assert!(!gives("root:100000:1000", 100_000, 65_536));
        assert!(!gives("lxc:100000:65536", 100_000, 65_536));
        assert!(!gives("root:165536:65536", 100_000, 65_536));
        assert!(!gives("", 100_000, 65_536));
        assert!(!gives("# root", 100_000, 65_536));
    }

    #[test]
    fn lines_that_follow_each_other_give_their_ids_together() {
        assert!(gives("root:165536:10\nroot:100000:65536\n", 100_000, 65_546));
        assert!(!gives("root:165537:10\nroot:100000:65536\n", 100_000, 65_546));
    }

    #[test]
    fn an_own_id_needs_no_line_and_any_other_one_does() {
        assert!(gives("", 0, 1));
        assert!(!gives("root:100000:65536", 1000, 1));
        let ranges =
            [Range { inside: 0, outside: 100_000, count: 1000 }, Range { inside: 1000, outside: 1000, count: 1 }];
        assert_eq!(not_given("root:100000:65536", &ranges), Some(ranges[1]));
    }
}
