//! Raw lines for LXC: `lxc_options`.

use super::finding::{Finding, Severity, quoted};
use super::json_value::Node;

/// One `key = value` of a container's LXC configuration.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct LxcOption {
    /// The key, `lxc.` and more.
    pub key: String,
    /// The value. The lists of capabilities (`lxc.cap.keep`, `lxc.cap.drop`) have blanks between their words, as
    /// lxc.container.conf(5) wants them, where the file has commas.
    pub value: String,
}

const EXPECTED: &str = "`lxc.some.key=value` or `lxc.some.key: value`";

impl LxcOption {
    /// Splits `key=value` or `key: value`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let separator = text.find(['=', ':'])?;
        let (key, value) = (text[..separator].trim(), text[separator + 1..].trim());
        let characters = key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte));
        let named = key.strip_prefix("lxc.").is_some_and(|rest| !rest.is_empty());
        if !characters || !named || text.contains(char::is_control) {
            return None;
        }
        let value = if matches!(key, "lxc.cap.keep" | "lxc.cap.drop") {
            value.split([',', ' ']).filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
        } else {
            value.to_owned()
        };
        Some(Self { key: key.to_owned(), value })
    }

    /// Reads `lxc_options`.
    pub(super) fn read_all(node: &Node<'_>, findings: &mut Vec<Finding>) -> Vec<Self> {
        let mut options = Vec::new();
        for (place, text) in node.texts(EXPECTED, findings) {
            let Some(option) = Self::parse(text) else {
                let message = format!("{} is not a line of an LXC configuration", quoted(text));
                findings.push(place.finding(Severity::Error, message).expected(EXPECTED));
                continue;
            };
            if is_ambiguous(text) {
                let message = format!("{} has a colon where LXC itself only knows `=`", quoted(text));
                let read = format!("it is read as `{}={}`; write it so", option.key, option.value);
                findings.push(place.finding(Severity::Warning, message).hint(read));
            }
            options.push(option);
        }
        options
    }
}

/// `lxc.mount.auto:sys:rw`: Proxmox VE takes the first colon for the separator, LXC's own parser knows none.
fn is_ambiguous(text: &str) -> bool {
    text.find(['=', ':']).is_some_and(|at| text[at..].starts_with(':') && !text[at..].starts_with(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Option<(String, String)> {
        LxcOption::parse(text).map(|option| (option.key, option.value))
    }

    #[test]
    fn both_separators_are_read() {
        let expected = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
        assert_eq!(split("lxc.apparmor.profile=unconfined"), expected("lxc.apparmor.profile", "unconfined"));
        assert_eq!(split("lxc.apparmor.profile: unconfined"), expected("lxc.apparmor.profile", "unconfined"));
        assert_eq!(split("lxc.mount.auto:sys:rw"), expected("lxc.mount.auto", "sys:rw"));
        assert_eq!(split("lxc.environment = A=b:c"), expected("lxc.environment", "A=b:c"));
        assert_eq!(split("lxc.cgroup2.devices.allow="), expected("lxc.cgroup2.devices.allow", ""));
    }

    #[test]
    fn capabilities_with_commas_are_a_list() {
        assert_eq!(LxcOption::parse("lxc.cap.keep=chown,kill, setuid").unwrap().value, "chown kill setuid");
        assert_eq!(LxcOption::parse("lxc.mount.entry=a b none bind,ro 0 0").unwrap().value, "a b none bind,ro 0 0");
    }

    #[test]
    fn what_could_become_another_line_is_refused() {
        for wrong in ["", "lxc.a", "lxc.=b", "memory: 5", "lxc.a=b\nlxc.b=c", "[snapshot]", "lxc.a b=c", "x lxc.a=b"] {
            assert!(LxcOption::parse(wrong).is_none(), "{wrong:?}");
        }
    }
}
