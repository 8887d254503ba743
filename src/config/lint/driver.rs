//! GPUs without a driver, and drivers where they cannot work.

use std::path::Path;

use super::super::finding::{Finding, Severity, quoted};
use super::super::json_value::Node;
use super::super::method::Method;
use super::super::mismatch::OnMismatch;
use super::super::wanted::{FEATURE, WantedDriver};
use super::{Subject, Subjects, clone_sources, names};

/// Everything doubtful about a container's GPUs and its driver.
pub(super) fn doubts(subject: &Subject<'_, '_>, subjects: &Subjects<'_, '_>) -> Vec<Finding> {
    let sources = clone_sources(subjects, subject.container.id);
    let doubts = [
        gpu_without_driver(subject, &sources),
        other_distribution(subject, &sources),
        musl(subject, &sources),
        update_in_vain(subject),
        dri_in_vain(subject),
    ];
    doubts.into_iter().flatten().collect()
}

fn has_driver(subject: &Subject<'_, '_>) -> bool {
    subject.container.features.iter().any(|feature| feature == FEATURE)
}

fn gpu_without_driver(subject: &Subject<'_, '_>, sources: &[&Subject<'_, '_>]) -> Option<Finding> {
    let is_slip = |feature: &String| names::feature_probably_meant(feature) == Some(FEATURE);
    if subject.container.gpus.is_none()
        || has_driver(subject)
        || subject.container.features.iter().any(is_slip)
        || sources.iter().any(|source| has_driver(source))
    {
        return None;
    }
    let message = format!("GPU {} is assigned, but no driver is wanted", subject.container.gpus);
    let hint = "add \"nvidia\" to the list `features`, unless the template contains the driver";
    Some(subject.place("gpu_assignment").finding(Severity::Warning, message).hint(hint))
}

/// The name of the archive of the nearest template.
fn template<'s>(subject: &'s Subject<'_, '_>, sources: &[&'s Subject<'_, '_>]) -> Option<&'s str> {
    let own = subject.container.template.as_deref().filter(|_| subject.container.clone_from.is_none());
    let found = own.or_else(|| sources.iter().find_map(|source| source.container.template.as_deref()));
    found.and_then(Path::file_name).and_then(|name| name.to_str())
}

/// `ubuntu2404` of a repository's URL against `ubuntu-24.04-standard…` of a template.
fn other_distribution(subject: &Subject<'_, '_>, sources: &[&Subject<'_, '_>]) -> Option<Finding> {
    if !has_driver(subject) {
        return None;
    }
    let node = subject.lookup.scalar("nvidia_repo_url")?;
    let repository = repository_distribution(node.as_text()?)?;
    let template = template_distribution(template(subject, sources)?)?;
    if repository == template {
        return None;
    }
    let message = format!("the repository is for {repository}, but container {} is {template}", subject.container.id);
    Some(
        node.finding(Severity::Warning, message)
            .hint("CUDA packages from there do not fit; the driver is not affected"),
    )
}

fn repository_distribution(url: &str) -> Option<String> {
    let name = url.split_once("/repos/")?.1.split('/').next()?;
    is_distribution(name).then(|| name.to_owned())
}

/// NVIDIA writes `ubuntu2404` and `debian12`, Proxmox's templates are called `ubuntu-24.04-…` and `debian-12-…`.
fn template_distribution(file_name: &str) -> Option<String> {
    let mut parts = file_name.split(['-', '_']);
    let name = format!("{}{}", parts.next()?, parts.next()?.replace('.', ""));
    is_distribution(&name).then_some(name)
}

fn is_distribution(name: &str) -> bool {
    let digits = name.strip_prefix("ubuntu").or_else(|| name.strip_prefix("debian"));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn musl(subject: &Subject<'_, '_>, sources: &[&Subject<'_, '_>]) -> Option<Finding> {
    let template = template(subject, sources)?;
    if !has_driver(subject) || !template.starts_with("alpine") {
        return None;
    }
    let features = subject.lookup.composed("features")?;
    let message = format!("NVIDIA's driver needs glibc, which {} does not have", quoted(template));
    Some(features.finding_at_key(Severity::Warning, message).hint("use a template of Debian or Ubuntu"))
}

/// What only a running container can be given is not given before it starts.
fn update_in_vain(subject: &Subject<'_, '_>) -> Option<Finding> {
    let container = &subject.container;
    let method = container.driver.as_ref().map(WantedDriver::method);
    let can_update = method == Some(Method::Native);
    if container.on_mismatch != OnMismatch::Update || container.gpus.is_none() || can_update {
        return None;
    }
    let message = "`update` needs the method `native`";
    let hint = "set `nvidia_install_method` to \"native\", or `nvidia_on_mismatch` to \"refuse\"";
    Some(subject.place("nvidia_on_mismatch").finding(Severity::Warning, message).hint(hint))
}

/// Said of this container itself; at the root of the file it is meant for those that have GPUs.
fn dri_in_vain(subject: &Subject<'_, '_>) -> Option<Finding> {
    let container = &subject.container;
    let node = subject.lookup.container.member("nvidia_dri").filter(Node::is_set)?;
    let has_whole_gpu = container.gpus.is_all() || container.gpus.iter().any(|gpu| !gpu.is_part());
    if container.dri != Some(true) || has_whole_gpu {
        return None;
    }
    let message = "`nvidia_dri` gives the nodes of whole GPUs, and none is assigned";
    Some(node.finding(Severity::Warning, message).hint("set `gpu_assignment`, or remove `nvidia_dri`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_a_distribution_are_the_same() {
        let url = "https://developer.download.nvidia.com/compute/cuda/repos/ubuntu2404/x86_64/";
        let template = "ubuntu-24.04-standard_24.04-2_amd64.tar.zst";
        assert_eq!(repository_distribution(url), template_distribution(template));
        assert_eq!(template_distribution("debian-12-standard_12.7-1_amd64.tar.zst").as_deref(), Some("debian12"));
    }

    #[test]
    fn what_is_not_understood_is_not_judged() {
        assert_eq!(repository_distribution("https://mirror.lan/cuda/"), None);
        assert_eq!(repository_distribution("https://mirror.lan/repos/rhel9/x86_64"), None);
        assert_eq!(template_distribution("rootfs.tar.zst"), None);
        assert_eq!(template_distribution("my-own-template.tar"), None);
    }
}
