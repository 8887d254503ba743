//! Rules about the files in a container: several versions, several methods, foreign packages, the C library, room.

use std::collections::BTreeSet;

use super::{Finding, Rule, listed};
use crate::config::Method;
use crate::container_id::ContainerId;
use crate::driver::DriverVersion;
use crate::fleet::plan::rollback_point::SNAPSHOT;
use crate::install::{CLibrary, ForeignLibrary};

/// What is known of a container's files.
#[derive(Debug, Clone)]
pub(super) struct RootState {
    pub(super) id: ContainerId,
    /// The container asks for a driver.
    pub(super) wants_driver: bool,
    /// The versions of the libraries.
    pub(super) libraries: BTreeSet<DriverVersion>,
    /// How the driver got there and its version, according to its receipt.
    pub(super) receipt: Option<(Method, DriverVersion)>,
    /// The version in the list that NVIDIA's installer keeps, and that every way of ours writes.
    pub(super) installer_log: Option<String>,
    /// Packages of the distribution that bring a driver, by dpkg's database.
    pub(super) packages: Vec<String>,
    /// There is a database of rpm.
    pub(super) rpm: bool,
    /// What its programs are made for.
    pub(super) c_library: CLibrary,
    /// What programs get in place of a library of the driver.
    pub(super) foreign_library: Option<ForeignLibrary>,
    /// Directories that an installation made for itself, while nobody works on the container.
    pub(super) left: Vec<String>,
    /// When the snapshot of an interrupted `apply` was taken, while nobody works on the container.
    pub(super) left_snapshot: Option<String>,
    /// Bytes that are free below `/usr`, and bytes that the driver needs there; nothing where none is to come.
    pub(super) room: Option<(u64, u64)>,
}

/// Every rule of this subject.
pub(super) fn examine(state: &RootState) -> Vec<Finding> {
    [
        no_glibc,
        foreign_library,
        several_versions,
        mixed_ways,
        foreign_packages,
        foreign_rpm,
        no_space,
        left_over,
        left_snapshot,
    ]
    .iter()
    .filter_map(|rule| rule(state))
    .collect()
}

fn no_glibc(state: &RootState) -> Option<Finding> {
    let (cause, remedy) = state.c_library.fault().filter(|_| state.wants_driver)?;
    Some(Finding::new(Rule::NoGlibc, cause, remedy))
}

fn foreign_library(state: &RootState) -> Option<Finding> {
    let foreign = state.foreign_library.as_ref()?;
    Some(Finding::new(Rule::ForeignLibrary, foreign.cause(), foreign.remedy()))
}

fn several_versions(state: &RootState) -> Option<Finding> {
    if state.libraries.len() < 2 {
        return None;
    }
    let versions: Vec<String> = state.libraries.iter().map(ToString::to_string).collect();
    let cause = format!(
        "libraries of {} are in the container, and programs load whichever comes first",
        versions.join(" and ")
    );
    let remedy = format!(
        "phoenix-nvidia uninstall {id}; in the container, remove the files that `find / -xdev -name 'libcuda.so.*'` \
         still lists; phoenix-nvidia install {id}",
        id = state.id
    );
    Some(Finding::new(Rule::SeveralVersions, cause, remedy))
}

/// Somebody has run NVIDIA's installer after us: its list is not of our driver.
fn mixed_ways(state: &RootState) -> Option<Finding> {
    let ((method, version), log) = (state.receipt.as_ref()?, state.installer_log.as_ref()?);
    if version.as_str() == log {
        return None;
    }
    let cause = format!(
        "driver {version} was brought in by the method `{}`, and NVIDIA's installer has put {log} there since",
        method.word()
    );
    let id = state.id;
    Some(Finding::new(
        Rule::MixedMethods,
        cause,
        format!("phoenix-nvidia uninstall {id} && phoenix-nvidia install {id}"),
    ))
}

fn foreign_packages(state: &RootState) -> Option<Finding> {
    if state.packages.is_empty() {
        return None;
    }
    let cause = format!("packages in the container install another driver: {}", listed(&state.packages));
    let names: Vec<&str> = state.packages.iter().filter_map(|package| package.split(' ').next()).collect();
    let remedy =
        format!("apt-get purge {} in the container, then `phoenix-nvidia install {}`", names.join(" "), state.id);
    Some(Finding::new(Rule::ForeignDriver, cause, remedy))
}

/// Which packages rpm has is not read; a driver that neither we nor NVIDIA's installer put there came from one.
fn foreign_rpm(state: &RootState) -> Option<Finding> {
    if !state.rpm || state.libraries.is_empty() || state.receipt.is_some() || state.installer_log.is_some() {
        return None;
    }
    let cause =
        "the libraries of a driver are there that neither this program nor NVIDIA's installer brought, and rpm is";
    let remedy = format!(
        "dnf remove '*nvidia-driver*' '*nvidia*-libs' in the container, then `phoenix-nvidia install {}`",
        state.id
    );
    Some(Finding::new(Rule::ForeignDriver, cause, remedy))
}

fn no_space(state: &RootState) -> Option<Finding> {
    let (free, needed) = state.room?;
    let megabytes = |bytes: u64| bytes.div_ceil(1_000_000);
    let cause = format!(
        "`/usr` in the container has {} MB free, and the driver needs {} MB",
        free / 1_000_000,
        megabytes(needed)
    );
    let remedy = "make the container's disk larger, or free some space in it: `df -h /usr`";
    (free < needed).then(|| Finding::new(Rule::NoSpace, cause, remedy))
}

fn left_over(state: &RootState) -> Option<Finding> {
    if state.left.is_empty() {
        return None;
    }
    let cause = format!("a killed installation left {} in the container", listed(&state.left));
    Some(Finding::new(Rule::LeftOver, cause, format!("rm -r {} in the container", state.left.join(" "))))
}

fn left_snapshot(state: &RootState) -> Option<Finding> {
    let taken_at = state.left_snapshot.as_ref()?;
    let cause = format!("an `apply --snapshot` that was interrupted has left the snapshot `{SNAPSHOT}` of {taken_at}");
    let remedy =
        format!("phoenix-nvidia apply {id}, or with `--snapshot` to roll back to it on a failure", id = state.id);
    Some(Finding::new(Rule::LeftOver, cause, remedy))
}

#[cfg(test)]
mod tests {
    use super::super::rules_of;
    use super::*;

    fn sound() -> RootState {
        RootState {
            id: "901".parse().unwrap(),
            wants_driver: true,
            libraries: ["580.76.05".parse().unwrap()].into(),
            receipt: Some((Method::Runfile, "580.76.05".parse().unwrap())),
            installer_log: Some("580.76.05".to_owned()),
            packages: Vec::new(),
            rpm: false,
            c_library: CLibrary::Glibc,
            foreign_library: None,
            left: Vec::new(),
            left_snapshot: None,
            room: None,
        }
    }

    #[track_caller]
    fn assert_found(state: &RootState, rules: &[&str]) {
        assert_eq!(rules_of(&examine(state)), rules);
    }

    #[test]
    fn a_driver_of_one_version_by_one_way_is_clean() {
        assert_found(&sound(), &[]);
        assert_found(&RootState { room: Some((2, 1)), ..sound() }, &[]);
        assert_found(&RootState { rpm: true, ..sound() }, &[]);
    }

    #[test]
    fn musl_is_named_where_a_driver_is_wanted() {
        let alpine = RootState { c_library: CLibrary::Musl, ..sound() };
        assert!(examine(&alpine)[0].cause.contains("musl"));
        assert_found(&alpine, &["no-glibc"]);
        assert_found(&RootState { wants_driver: false, ..alpine }, &[]);
    }

    #[test]
    fn a_library_that_comes_before_the_drivers_is_named_with_what_puts_it_there() {
        let named_by = Some("/etc/ld.so.conf.d/000_cuda.conf".to_owned());
        let path = "/usr/local/cuda/compat/libcuda.so.1".to_owned();
        let foreign = ForeignLibrary { name: "libcuda.so.1", path, named_by };
        let findings = examine(&RootState { foreign_library: Some(foreign), ..sound() });
        assert_eq!(rules_of(&findings), ["foreign-library"]);
        assert!(findings[0].cause.contains("/usr/local/cuda/compat/libcuda.so.1"));
        assert!(findings[0].remedy.contains("000_cuda.conf"));
    }

    #[test]
    fn what_was_brought_twice_is_reported() {
        let mut state = sound();
        state.libraries.insert("570.133.20".parse().unwrap());
        assert_found(&state, &["several-versions"]);
        for method in Method::ALL {
            let receipt = |version: &str| Some((method, version.parse().unwrap()));
            assert_found(&RootState { receipt: receipt("580.76.05"), ..sound() }, &[]);
            assert_found(&RootState { receipt: receipt("580.76.05"), installer_log: None, ..sound() }, &[]);
            assert_found(&RootState { receipt: receipt("570.133.20"), ..sound() }, &["mixed-methods"]);
        }
    }

    #[test]
    fn packages_that_fight_with_ours_are_named_for_pasting() {
        let packages = vec!["libcuda1 535.183.01-1".to_owned(), "nvidia-smi 535.183.01-1".to_owned()];
        let findings = examine(&RootState { packages, ..sound() });
        assert_eq!(rules_of(&findings), ["foreign-driver"]);
        assert!(findings[0].remedy.starts_with("apt-get purge libcuda1 nvidia-smi in"));
        assert_found(&RootState { rpm: true, receipt: None, installer_log: None, ..sound() }, &["foreign-driver"]);
    }

    #[test]
    fn room_and_leftovers_have_their_rules() {
        assert_found(&RootState { room: Some((1, 2)), ..sound() }, &["no-space"]);
        let left = vec!["/tmp/phoenix-nvidia-run-0123456789abcdef".to_owned()];
        assert_found(&RootState { left, ..sound() }, &["left-over"]);
        let left_snapshot = Some("2026-11-25T04:00:00Z".to_owned());
        assert_found(&RootState { left_snapshot, ..sound() }, &["left-over"]);
    }
}
