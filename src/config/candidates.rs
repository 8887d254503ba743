//! The URLs that a run file may be fetched from, in the order to try.

use super::finding::{Finding, Severity, quoted};
use super::hypervisor::HypervisorSettings;
use super::json_value::Node;
use super::url::{Target, UrlFault};
use crate::driver::{DriverVersion, Variant};

/// The URL of a run file as an operator has written it, for versions that no container's entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenUrl {
    text: String,
    /// The key and the file that say so.
    origin: String,
}

impl WrittenUrl {
    pub(super) fn of(node: &Node<'_>) -> Option<Self> {
        Some(Self { text: node.as_text()?.to_owned(), origin: node.origin() })
    }
}

/// Where versions come from that no container's entry names.
pub(super) struct Places<'p> {
    pub(super) settings: &'p HypervisorSettings,
    pub(super) url: Option<&'p WrittenUrl>,
}

impl Places<'_> {
    /// The variant that the written URL means.
    pub(super) fn variant(&self, version: &DriverVersion, architecture: &str) -> Variant {
        let target = Target { version, architecture, variant: Variant::Full };
        self.url.map_or(Variant::Full, |url| target.variant_of(&url.text))
    }

    /// The same URLs in the same order as for a container, and what an operator should know about that.
    pub(super) fn urls(&self, target: Target<'_>) -> (Vec<String>, Vec<String>) {
        let mut notes = Vec::new();
        // One for another variant says nothing about this one, and neither does a sum beside it.
        let written = self.url.filter(|url| target.variant_of(&url.text) == target.variant);
        let written = written.and_then(|url| match target.filled(&url.text, &self.settings.allow_http) {
            Ok(filled) => Some(filled.url),
            Err(fault) => {
                notes.push(format!("the URL of {} {fault}: it is not used", url.origin));
                None
            }
        });
        (in_order(self.settings, target, written), notes)
    }
}

/// The mirrors, the configured URL, NVIDIA's own places; each URL once.
fn in_order(settings: &HypervisorSettings, target: Target<'_>, configured: Option<String>) -> Vec<String> {
    let mut urls: Vec<String> = Vec::new();
    let mirrored = settings.mirrors.iter().map(|base| target.below_mirror(base));
    for url in mirrored.chain(configured).chain(target.published()) {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// The URLs for one version, as they are put together.
pub(super) struct Candidates<'c, 'd> {
    target: Target<'c>,
    /// Where the wanted version was said.
    version: &'c Node<'d>,
    settings: &'c HypervisorSettings,
    pub(super) urls: Vec<String>,
    /// What was done to a URL, one sentence each.
    pub(super) notes: Vec<String>,
}

impl<'c, 'd> Candidates<'c, 'd> {
    /// None yet.
    pub(super) fn new(target: Target<'c>, version: &'c Node<'d>, settings: &'c HypervisorSettings) -> Self {
        Self { target, version, settings, urls: Vec::new(), notes: Vec::new() }
    }

    /// The mirrors, the configured URL, NVIDIA's own places; each URL once.
    pub(super) fn collect(&mut self, configured: Option<Node<'_>>, findings: &mut Vec<Finding>) {
        let configured = configured.and_then(|node| self.configured(&node, findings));
        self.urls = in_order(self.settings, self.target, configured);
    }

    fn configured(&mut self, node: &Node<'_>, findings: &mut Vec<Finding>) -> Option<String> {
        let text = node.text("a URL in quotes, such as `\"https://host/path\"`", findings)?;
        match self.target.filled(text, &self.settings.allow_http) {
            Ok(filled) => {
                if let Some(replaced) = &filled.replaced {
                    let (wanted, origin) = (self.target.version, self.version.origin());
                    let fault = format!("names version {replaced}; {wanted} is fetched, as configured in {origin}");
                    self.notes.push(format!("the URL of {} {fault}", node.origin()));
                    let hint = "write `{version}` in the URL, so that it follows the wanted version";
                    findings.push(node.finding(Severity::Note, format!("the URL {fault}")).hint(hint));
                }
                Some(filled.url)
            }
            Err(fault @ UrlFault::OtherArchitecture { .. }) => {
                self.notes.push(format!("the URL of {} {fault}: it is not used", node.origin()));
                let finding = node.finding(Severity::Note, format!("the URL {fault}: it is not used"));
                findings.push(finding.hint("write `{arch}` in the URL"));
                None
            }
            Err(fault) => {
                findings.push(self.finding(node, text, &fault));
                None
            }
        }
    }

    fn finding(&self, node: &Node<'_>, text: &str, fault: &UrlFault) -> Finding {
        let origin = self.version.origin();
        // What could hold a password is not shown: messages end in logs.
        let secret = text.contains('@');
        let message = match fault {
            UrlFault::OtherVersion { .. } => format!("the URL {fault}, by {origin}"),
            _ if secret => format!("the URL {fault}"),
            _ => format!("the URL {} {fault}", quoted(text)),
        };
        let mut finding = node.finding(Severity::Error, message);
        if secret {
            finding = finding.without_line();
        }
        match fault {
            UrlFault::OtherVersion { .. } => finding.hint(format!(
                "set the same version in {} and {origin}, or write `{{version}}` in the URL in place of the number",
                node.origin()
            )),
            UrlFault::Plain(host) => finding.hint(format!(
                "use `https`, or add \"{host}\" to `nvidia_driver.allow_http` in the hypervisor's file and set \
                 `nvidia_runfile_sha256`"
            )),
            UrlFault::Credentials => finding.hint("remove them: they would be visible in logs and in the process list"),
            UrlFault::HostsPart => finding
                .hint("name the guest's driver, whose file ends in `-grid.run`, and run the container in such a guest"),
            UrlFault::Form => finding.expected("`https://host/path/{version}.run`"),
            _ => finding,
        }
    }
}
