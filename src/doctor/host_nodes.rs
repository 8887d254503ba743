//! Rules about the device nodes of the host.

use super::{Finding, Rule, listed};
use crate::driver::host_nodes::Verdict;
use crate::host::Node;

/// Every rule of this subject.
pub(super) fn examine(nodes: &[Node]) -> Vec<Finding> {
    let of = |choose: &dyn Fn(&Verdict) -> bool| -> Vec<String> {
        nodes.iter().filter(|node| choose(&node.verdict)).map(|node| node.path.display().to_string()).collect()
    };
    let missing = of(&|verdict| matches!(verdict, Verdict::Missing));
    let wrong =
        of(&|verdict| matches!(verdict, Verdict::WrongNumbers { .. } | Verdict::EmptyFile | Verdict::OtherFile { .. }));
    let access = of(&|verdict| matches!(verdict, Verdict::WrongAccess { .. }));
    let unlinked = nodes.iter().filter(|node| node.verdict == Verdict::Right && !node.linked);
    let unlinked: Vec<String> = unlinked.map(|node| node.path.display().to_string()).collect();
    let said = [
        (Rule::NodeMissing, missing, "missing"),
        (Rule::NodeWrong, wrong, "not the device of the driver"),
        (Rule::NodeAccess, access, "of another mode or owner than the kernel module sets"),
        (Rule::NodeLink, unlinked, "not linked in `/dev/char`"),
    ];
    let found = said.into_iter().filter(|(_, paths, _)| !paths.is_empty());
    found.map(|(rule, paths, what)| Finding::new(rule, sentence(&paths, what), "phoenix-nvidia host prepare")).collect()
}

fn sentence(paths: &[String], what: &str) -> String {
    format!("{} {} {what}", listed(paths), if paths.len() == 1 { "is" } else { "are" })
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;
    use crate::driver::host_nodes::WantedNode;
    use crate::sys::device_node::CharacterDevice;

    fn node(name: &str, verdict: Verdict) -> Node {
        let device = CharacterDevice { major: 195, minor: 0, mode: 0o666, user: 0, group: 0 };
        let wanted = WantedNode { name: name.to_owned(), device, modify: true };
        Node { path: format!("/dev/{name}").into(), wanted, verdict, linked: true }
    }

    #[test]
    fn nodes_with_the_same_fault_are_reported_together() {
        let missing = ["nvidia0", "nvidia1", "nvidia2", "nvidiactl"].map(|name| node(name, Verdict::Missing));
        let findings = examine(&missing);
        assert_eq!(rules_of(&findings), ["node-missing"]);
        assert_eq!(findings[0].cause, "`/dev/nvidia0`, `/dev/nvidia1`, `/dev/nvidia2` and 1 more are missing");
    }

    #[test]
    fn every_fault_of_a_node_has_its_rule() {
        let nodes = [
            node("nvidia0", Verdict::Right),
            node("nvidia1", Verdict::EmptyFile),
            node("nvidia-uvm", Verdict::WrongNumbers { major: 511, minor: 0 }),
            node("nvidiactl", Verdict::WrongAccess { mode: 0o600 }),
            Node { linked: false, ..node("nvidia-modeset", Verdict::Right) },
        ];
        let findings = examine(&nodes);
        assert_eq!(rules_of(&findings), ["node-wrong", "node-access", "node-link"]);
        assert!(findings[0].cause.starts_with("`/dev/nvidia1`, `/dev/nvidia-uvm` are not the device"));
        assert_eq!(examine(&nodes[..1]), []);
    }
}
