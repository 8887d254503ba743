//! Parts of a divided GPU (MIG), given to containers.

use serde_json::json;

use crate::gpu_host::{GpuHostBuilder, PretendedGpuHost, instance_uuid};
use crate::world::World;

const VERSION: &str = "580.76.05";

fn host() -> GpuHostBuilder {
    PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1)
}

fn configure(world: &World, gpus: &str) {
    world.write_containers(&json!({ "lxc_configs": {
        "901": { "name": "gpu-one", "template": world.template(), "unprivileged": true, "gpu_assignment": gpus },
    } }));
}

/// NVIDIA's nodes in the container, in the order of their names.
fn nodes(world: &World) -> Vec<String> {
    let listed = world.inside(901, "ls -d /dev/nvidia[0-9]* /dev/nvidia-caps/* 2> /dev/null; :").ok().stdout;
    listed.lines().map(|path| path.trim_start_matches("/dev/").to_owned()).collect()
}

#[test]
fn a_container_with_an_instance_gets_exactly_its_nodes() {
    let (world, host) = (World::new(), host().mig(0, 1, 0).mig(0, 2, 0).mig(1, 7, 1).start());
    world.run_on(&host, &["host", "prepare"]).ok();
    configure(&world, "0:1");
    world.run_on(&host, &["create", "901"]).ok();
    assert_eq!(nodes(&world), ["nvidia-caps/nvidia-cap12", "nvidia-caps/nvidia-cap13", "nvidia0"]);
    assert_eq!(world.run_on(&host, &["create", "901"]).ok().stdout, "901 gpu-one: nothing to do\n");

    configure(&world, "0:2:0, GPU-00000000-0000-0000-0000-000000000001:7:1");
    world.run_on(&host, &["create", "901"]).ok();
    let (first, second) = (["21", "22"], ["201", "203"]);
    let caps: Vec<String> = first.iter().chain(&second).map(|minor| format!("nvidia-caps/nvidia-cap{minor}")).collect();
    let mut expected = caps;
    expected.extend(["nvidia0".to_owned(), "nvidia1".to_owned()]);
    expected.sort();
    let mut found = nodes(&world);
    found.sort();
    assert_eq!(found, expected);
}

/// A host whose `nvidia-smi` knows the names of these instances.
fn naming(instances: GpuHostBuilder) -> PretendedGpuHost {
    let told = instances.told_instances();
    let host = instances.start();
    host.tell_instances(&told);
    host
}

#[test]
fn an_instance_called_by_its_uuid_is_given_by_its_nodes_and_stays_while_nobody_knows_it() {
    let world = World::new();
    let divided = || host().mig(0, 1, 0).mig(0, 2, 0).mig(1, 7, 1);
    let host = naming(divided());
    world.run_on(&host, &["host", "prepare"]).ok();
    configure(&world, &format!("{}, {}", instance_uuid(0, 2, 0), instance_uuid(1, 7, 1)));
    world.run_on(&host, &["create", "901"]).ok();
    let given = ["21", "22", "201", "203"].map(|minor| format!("nvidia-caps/nvidia-cap{minor}"));
    let mut expected: Vec<String> = ["nvidia0", "nvidia1"].into_iter().map(str::to_owned).chain(given).collect();
    expected.sort();
    let found = || {
        let mut found = nodes(&world);
        found.sort();
        found
    };
    assert_eq!(found(), expected);
    assert_eq!(world.run_on(&host, &["create", "901"]).ok().stdout, "901 gpu-one: nothing to do\n");

    // Nobody tells the names, or they are of others: what is given stays, and nothing of another instance comes.
    configure(&world, &instance_uuid(0, 2, 0));
    let settings = || fs_err::read_to_string(world.lxcpath().join("901/phoenix-nvidia.conf")).unwrap();
    world.run_on(&host, &["create", "901"]).ok();
    assert_eq!(found(), ["nvidia-caps/nvidia-cap21", "nvidia-caps/nvidia-cap22", "nvidia0"]);
    let before = settings();
    let others = PretendedGpuHost::with_module(VERSION).gpu("0000:01:00.0", 0).gpu("0000:02:00.0", 1).mig(0, 1, 0);
    for told in [["what is this".to_owned(), String::new()], others.told_instances()] {
        host.tell_instances(&told);
        let ran = world.run_on(&host, &["create", "901"]).ok();
        let waits = format!("GPU {} is pending: `nvidia-smi -L`", instance_uuid(0, 2, 0));
        assert!(ran.stderr.contains(&waits), "{}", ran.stderr);
        assert_eq!(settings(), before);
    }
    host.tell_instances(&divided().told_instances());
    assert_eq!(world.run_on(&host, &["create", "901"]).ok().stdout, "901 gpu-one: nothing to do\n");
    assert_eq!(settings(), before);
}

#[test]
fn the_start_of_a_container_asks_nothing_of_the_instances_of_others() {
    let (world, host) = (World::new(), naming(host().mig(0, 1, 0)));
    let entry = |gpus: &str| json!({ "name": "gpu", "template": world.template(), "unprivileged": true, "gpu_assignment": gpus });
    world.write_containers(&json!({ "lxc_configs": { "901": entry("1"), "902": entry(&instance_uuid(0, 1, 0)) } }));
    world.run_on(&host, &["host", "prepare"]).ok();
    world.run_on(&host, &["create", "901", "902"]).ok();
    let asked = world.base().join("asked");
    host.install_program("nvidia-smi", &format!("touch {}; exit 9", asked.display()));
    for (ctid, asks) in [("901", false), ("902", true)] {
        world.run_on(&host, &["hook", ctid, "pre-start"]).ok();
        assert_eq!(asked.exists(), asks, "{ctid}");
    }
}

#[test]
fn an_instance_that_nobody_tells_of_for_the_moment_waits_and_its_container_starts_unless_that_is_refused() {
    let (world, host) = (World::new(), naming(host().mig(0, 1, 0)));
    let (known, unknown) = (instance_uuid(0, 1, 0), instance_uuid(1, 7, 1));
    let write = |on_mismatch: &str, gpus: &str| {
        world.write_containers(&json!({ "nvidia_on_mismatch": on_mismatch, "lxc_configs": {
            "901": { "name": "gpu", "template": world.template(), "unprivileged": true, "gpu_assignment": gpus },
        } }));
    };
    world.run_on(&host, &["host", "prepare"]).ok();
    write("warn", &known);
    world.run_on(&host, &["create", "901"]).ok();
    host.tell_instances(&["no devices".to_owned(), String::new()]);
    host.sh("rm /dev/nvidia0").ok();
    let waits = format!("GPU {known} is pending: `nvidia-smi -L` does not list this instance");
    let told = world.run_on(&host, &["hook", "901", "pre-start"]).ok().stderr;
    assert!(told.contains(&format!("901: warning: {waits}; divide the GPU again")), "{told}");
    assert!(told.contains("901: note: make /dev/nvidia0 "), "{told}");
    write("refuse", &known);
    let refused = world.run_on(&host, &["hook", "901", "pre-start"]).exits(10).stderr;
    assert!(refused.starts_with(&format!("error: container 901: {waits}\n")), "{refused}");
    // One that it never had is a mistake in the file.
    write("refuse", &unknown);
    let refused = world.run_on(&host, &["hook", "901", "pre-start"]).exits(3).stderr;
    assert!(refused.contains(&format!("lists no instance `{unknown}`")), "{refused}");
}

#[test]
fn an_instance_that_was_never_there_is_refused_with_those_that_are() {
    let (world, host) = (World::new(), host().mig(0, 1, 0).start());
    configure(&world, "0:3");
    let said = world.run_on(&host, &["create", "901"]).exits(3).stderr;
    assert!(said.contains("container 901: GPU 0 of this host has no instance `0:3:0`"), "{said}");
    assert!(said.contains("hint: it has `0:1:0`"), "{said}");
    configure(&world, "1:0");
    let said = world.run_on(&host, &["create", "901"]).exits(3).stderr;
    assert!(said.contains("nvidia-smi mig -i 1 -cgi"), "{said}");
    configure(&world, &instance_uuid(0, 3, 0));
    let said = world.run_on(&host, &["create", "901"]).exits(3).stderr;
    assert!(said.contains("(MIG)") && said.contains("`GPU:GI:CI`"), "{said}");
}

#[test]
fn an_instance_that_is_gone_after_a_boot_stays_assigned_and_is_said_to_wait() {
    let (world, before) = (World::new(), host().mig(0, 1, 0).start());
    world.run_on(&before, &["host", "prepare"]).ok();
    configure(&world, "0:1");
    world.run_on(&before, &["create", "901"]).ok();
    world.lxc("lxc-stop", 901, &["--kill"]).ok();
    let settings = || fs_err::read_to_string(world.lxcpath().join("901/phoenix-nvidia.conf")).unwrap();
    let given = settings();
    let after = host().start();
    let ran = world.run_on(&after, &["create", "901"]);
    assert_ne!(ran.code, 0, "{}", ran.stdout);
    assert!(ran.stderr.contains("nvidia-cap12") || ran.stderr.contains("divide the GPU again"), "{}", ran.stderr);
    let lines =
        |text: &str| text.lines().filter(|line| line.contains("nvidia-caps")).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(lines(&settings()), lines(&given));
}

#[test]
fn a_whole_gpu_that_the_host_has_divided_is_reported_before_anybody_wonders() {
    let (world, host) = (World::new(), host().mig(0, 1, 0).start());
    world.run_on(&host, &["host", "prepare"]).ok();
    configure(&world, "0");
    let sentence = "GPU 0 is divided (MIG) but no instance is assigned";
    let plan = world.run_on(&host, &["plan", "901"]);
    assert!((plan.stdout.clone() + &plan.stderr).contains(sentence), "{}{}", plan.stdout, plan.stderr);
    let lint = world.run_on(&host, &["lint"]).ok().stdout;
    assert!(
        lint.contains(&format!("warning: {sentence}")) && lint.contains("lxc_configs.901.gpu_assignment"),
        "{lint}"
    );
    world.run_on(&host, &["create", "901"]).ok();
    let doctor = world.run_on(&host, &["doctor", "901"]).stdout;
    assert!(doctor.contains("gpu-divided") && doctor.contains("`0:1:0`"), "{doctor}");
    configure(&world, "0:1:0");
    world.run_on(&host, &["create", "901"]).ok();
    let doctor = world.run_on(&host, &["doctor", "901"]).stdout;
    assert!(!doctor.contains("gpu-divided"), "{doctor}");
    let lint = world.run_on(&host, &["lint"]).ok().stdout;
    assert!(!lint.contains("is divided"), "{lint}");
}
