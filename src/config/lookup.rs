//! The look-up rule: a single value stands in the container's entry, or at the root of the file.

use super::json_value::Node;
use super::keys;

/// One container's entry and the file around it.
pub(super) struct Lookup<'d> {
    pub(super) container: Node<'d>,
    pub(super) root: Node<'d>,
}

impl<'d> Lookup<'d> {
    /// A single value: the container's, or else the root's.
    ///
    /// `false` counts as said; null and the empty text do not, so they let the root speak. Nothing is inherited from
    /// the container that this one is cloned from.
    pub(super) fn scalar(&self, key: &str) -> Option<Node<'d>> {
        debug_assert!(keys::SCALARS.contains(&key), "{key}");
        [&self.container, &self.root].into_iter().filter_map(|node| node.member(key)).find(Node::is_set)
    }

    /// A list or an object: the container's alone, unless it is null.
    pub(super) fn composed(&self, key: &str) -> Option<Node<'d>> {
        debug_assert!(keys::COMPOSED.contains(&key), "{key}");
        self.container.member(key).filter(Node::is_set)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::document::Document;
    use crate::config::source::Source;

    fn found(container: &str, root: &str) -> Option<String> {
        let text = format!(r#"{{ "lxc_configs": {{ "901": {{ {container} }} }}, "unused": 0 {root} }}"#);
        let document = Document::parse(Source::new("x", text)).map_err(|finding| finding.render()).unwrap();
        let root = document.root();
        let container = root.member("lxc_configs").unwrap().member("901").unwrap();
        let node = Lookup { container, root }.scalar("unprivileged");
        node.map(|node| node.path().to_owned())
    }

    #[test]
    fn the_container_speaks_before_the_root() {
        let own = Some("lxc_configs.901.unprivileged".to_owned());
        let roots = Some("unprivileged".to_owned());
        assert_eq!(found(r#""unprivileged": true"#, r#", "unprivileged": false"#), own);
        assert_eq!(found("", r#", "unprivileged": false"#), roots);
        assert_eq!(found("", ""), None);
    }

    #[test]
    fn false_is_set_and_empty_and_null_are_not() {
        let own = Some("lxc_configs.901.unprivileged".to_owned());
        let roots = Some("unprivileged".to_owned());
        assert_eq!(found(r#""unprivileged": false"#, r#", "unprivileged": true"#), own);
        assert_eq!(found(r#""unprivileged": null"#, r#", "unprivileged": true"#), roots);
        assert_eq!(found(r#""unprivileged": """#, r#", "unprivileged": true"#), roots);
        assert_eq!(found(r#""unprivileged": null"#, r#", "unprivileged": null"#), None);
    }

    #[test]
    fn lists_have_no_root_to_fall_back_to() {
        let text = r#"{ "features": ["nvidia"], "lxc_configs": { "901": {} } }"#;
        let document = Document::parse(Source::new("x", text)).map_err(|finding| finding.render()).unwrap();
        let root = document.root();
        let container = root.member("lxc_configs").unwrap().member("901").unwrap();
        assert!(Lookup { container, root }.composed("features").is_none());
    }
}
