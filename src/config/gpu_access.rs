//! Who may use a container's GPU device nodes: `gpu_mode`, `gpu_uid`, `gpu_gid`.

use super::finding::Finding;
use super::json_value::Node;

/// What the configuration says of the nodes; what it does not say stays as it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct GpuAccess {
    /// Permission bits.
    pub mode: Option<u32>,
    /// The owner, as the container counts users.
    pub uid: Option<u32>,
    /// The group, as the container counts groups.
    pub gid: Option<u32>,
}

impl GpuAccess {
    /// The highest number of a user or a group; the one above means nobody (`-1` of chown(2)).
    pub(super) const HIGHEST_ID: u32 = u32::MAX - 1;

    const MODE: &str = "three octal digits, such as `\"0660\"`";

    /// Whether it says nothing.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Reads `gpu_mode`. Digits without quotes are octal, too, for so does everybody write permission bits.
    pub(super) fn read_mode(node: &Node<'_>, findings: &mut Vec<Finding>) -> Option<u32> {
        let Some(text) = node.as_text_or_number() else {
            findings.push(node.wrong_type(Self::MODE));
            return None;
        };
        let mode = mode(text);
        if mode.is_none() {
            findings.push(node.wrong_value(Self::MODE));
        }
        mode
    }
}

fn mode(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let octal = digits.len() == 3 && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    octal.then(|| u32::from_str_radix(digits, 8).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permission_bits_are_octal_however_they_are_written() {
        assert_eq!([mode("0660"), mode("660"), mode("000")], [Some(0o660), Some(0o660), Some(0)]);
        for wrong in ["", "66", "06600", "0868", "-660", "rw", "1777"] {
            assert_eq!(mode(wrong), None, "{wrong}");
        }
    }
}
