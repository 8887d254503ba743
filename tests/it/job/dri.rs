//! The nodes to draw with, below `/dev/dri`: those of the container's cards, and of no other.

use super::fixture::{Job, VERSION};
use crate::gpu_host::PretendedGpuHost;

/// The addresses of the two GPUs, and of a card of another vendor.
const FIRST: &str = "0000:01:00.0";
const SECOND: &str = "0000:02:00.0";
const FOREIGN: &str = "0000:00:02.0";

fn host() -> PretendedGpuHost {
    PretendedGpuHost::with_module(VERSION).gpu(FIRST, 0).gpu(SECOND, 1).start()
}

/// The foreign card first, as most boards have it.
fn drawing() -> PretendedGpuHost {
    let host = host();
    [FOREIGN, FIRST, SECOND].iter().zip(0..).for_each(|(pci, number)| host.draw_with(pci, number));
    host
}

impl Job {
    /// With GPU 0 and without a driver, which draws nothing here.
    fn drawing(unprivileged: bool) -> Self {
        let job = Self::new();
        job.set("features", serde_json::json!([]));
        job.set("unprivileged", unprivileged);
        job.set("nvidia_dri", true);
        job
    }

    fn passing(&self) -> String {
        let path = self.world.lxcpath().join(self.ctid.to_string()).join("phoenix-nvidia.conf");
        fs_err::read_to_string(path).unwrap()
    }

    fn draws_with(&self) -> String {
        self.inside("cd /dev/dri 2> /dev/null && echo * || :").trim().to_owned()
    }
}

#[test]
fn a_container_gets_exactly_the_nodes_of_its_cards() {
    for unprivileged in [true, false] {
        let (job, host) = (Job::drawing(unprivileged), drawing());
        job.run_on(&host, "create").ok();
        assert_eq!(job.draws_with(), "card1 renderD129", "{}", job.passing());
        assert_eq!(job.inside("stat -c %t:%T /dev/dri/card1").trim(), "e2:1");
        let again = job.run_on(&host, "create").ok();
        assert!(again.stdout.contains("nothing to do"), "{}", again.stdout);
        job.set("gpu_assignment", "all");
        job.run_on(&host, "create").ok();
        assert_eq!(job.draws_with(), "card1 card2 renderD129 renderD130");
        job.set("nvidia_dri", false);
        job.run_on(&host, "create").ok();
        assert_eq!(job.draws_with(), "");
    }
}

#[test]
fn what_the_host_lacks_stays_and_a_number_that_is_anothers_goes() {
    let (job, host) = (Job::drawing(true), drawing());
    job.run_on(&host, "create").ok();
    let given = job.passing();
    // The next boot has not loaded `nvidia-drm`.
    host.draw_with_none();
    let ran = job.run_on(&host, "create").ok();
    assert!(ran.stderr.contains("GPU 0 has no node in `/dev/dri` on this host"), "{}", ran.stderr);
    assert_eq!(job.passing(), given);
    // A container starts without them, and without a module they stay, too.
    job.world.lxc("lxc-stop", job.ctid, &["-k"]).ok();
    job.run_on(&host, "create").ok();
    job.run("apply");
    assert_eq!(job.passing(), given);
    // Now the foreign card has the number.
    host.draw_with(FOREIGN, 1);
    job.run_on(&host, "create").ok();
    assert!(!job.passing().contains("/dev/dri"), "{}", job.passing());
    host.draw_with(FIRST, 0);
    job.run_on(&host, "create").ok();
    assert_eq!(job.draws_with(), "card0 renderD128");
}

#[test]
fn an_operators_own_nodes_stay_whatever_becomes_of_ours() {
    let (job, host) = (Job::drawing(true), drawing());
    job.run_on(&host, "create").ok();
    let config = job.world.lxcpath().join(job.ctid.to_string()).join("config");
    let own = "lxc.mount.entry = /dev/dri/card0 dev/dri/card0 none bind,create=file 0 0\n";
    let text = fs_err::read_to_string(&config).unwrap();
    fs_err::write(&config, format!("{text}{own}")).unwrap();
    for dri in [true, false] {
        job.set("nvidia_dri", dri);
        job.run_on(&host, "create").ok();
        assert!(fs_err::read_to_string(&config).unwrap().contains(own));
    }
    job.world.lxc("lxc-stop", job.ctid, &["-k"]).ok();
    job.run_on(&host, "create").ok();
    assert_eq!(job.draws_with(), "card0");
}

#[test]
fn a_running_container_without_them_is_verified_and_gets_them_at_its_next_start() {
    let (job, host) = (Job::new(), drawing());
    job.set("nvidia_install_method", "native");
    job.created_on(&host, VERSION).ok();
    job.set("nvidia_dri", true);
    let ran = job.run_on(&host, "apply").ok();
    assert!(ran.stdout.contains("verified"), "{}", ran.stdout);
    assert!((ran.stdout + &ran.stderr).contains("restart"), "{}", ran.stderr);
    assert_eq!(job.draws_with(), "");
    job.run_on(&host, "create").ok();
    assert_eq!(job.draws_with(), "card1 renderD129");
    // Started before `nvidia-drm` was loaded, it has empty files in their place.
    job.world.lxc("lxc-stop", job.ctid, &["-k"]).ok();
    host.draw_with_none();
    job.run_on(&host, "create").ok();
    assert_eq!(job.inside("test -s /dev/dri/card1 -o -c /dev/dri/card1; echo $?").trim(), "1");
    [FOREIGN, FIRST, SECOND].iter().zip(0..).for_each(|(pci, number)| host.draw_with(pci, number));
    let ran = job.run_on(&host, "apply").ok();
    assert!(ran.stdout.contains("verified"), "{}", ran.stdout);
    job.run_on(&host, "create").ok();
    assert_eq!(job.inside("test -c /dev/dri/card1; echo $?").trim(), "0");
}

#[test]
fn the_profile_for_programs_that_draw_brings_them_unless_they_are_not_wanted() {
    let (job, host) = (Job::new(), drawing());
    job.set("nvidia_install_method", "native");
    for (profile, wants, nodes) in [
        ("compute", None, false),
        ("full", None, false),
        ("graphics", None, true),
        ("graphics", Some(false), false),
        ("compute", Some(true), true),
    ] {
        job.set("nvidia_driver_profile", profile);
        job.set("nvidia_dri", wants);
        let plan = job.run_on(&host, "plan").ok().stdout;
        job.run_on(&host, "create");
        assert_eq!(job.passing().contains("/dev/dri/card1 dev/dri/card1"), nodes, "{profile}, {wants:?}: {plan}");
    }
}
