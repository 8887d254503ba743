//! Commands against their limits: time, output, interruption, and what they leave running.

use std::path::PathBuf;

use super::*;

fn shell(script: &str) -> Command {
    Command::new("sh").arg("-c").arg(script)
}

fn cancel() -> Cancel {
    Cancel::new().unwrap()
}

#[test]
fn both_streams_and_the_exit_code_are_collected() {
    let output = shell("echo out; echo err >&2; exit 3").run(&cancel()).unwrap();
    assert_eq!((output.code, output.stdout.as_slice(), output.stderr.as_slice()), (3, &b"out\n"[..], &b"err\n"[..]));
}

#[test]
fn the_input_arrives() {
    assert_eq!(Command::new("cat").input("hello").run(&cancel()).unwrap().stdout, b"hello");
}

#[test]
fn a_signal_counts_as_a_shell_counts_it() {
    assert_eq!(shell("kill -BUS $$").run(&cancel()).unwrap().code, 135);
}

#[test]
fn a_program_without_room_is_the_hosts_failure_even_where_it_says_so_without_end() {
    let said = "tar: ./a: Cannot write: No space left on device";
    let ends = shell(&format!("echo '{said}' >&2; exit 2")).run_ok(&cancel()).unwrap_err();
    let goes_on = shell(&format!("while :; do echo '{said}' >&2; done")).output_limit(4000);
    for error in [ends, goes_on.run_ok(&cancel()).unwrap_err()] {
        assert_eq!(error.kind(), Kind::Host, "{error:?}");
        assert!(error.message().ends_with("found no space left"), "{error:?}");
        assert!(error.output_text().unwrap().contains(said), "{error:?}");
    }
}

#[test]
fn a_command_past_its_deadline_is_killed_with_its_children() {
    let started = Instant::now();
    let error = shell("sleep 1000 & echo begun; wait").deadline(Duration::from_millis(300)).run(&cancel()).unwrap_err();
    assert!(error.message().ends_with("did not end within 0.3 s and was killed"), "{error}");
    assert_eq!(error.output_text(), Some("begun"));
    assert!(started.elapsed() < Duration::from_secs(10));
}

/// The freezer of cgroup v1 holds a process so that SIGKILL waits, as a driver in the kernel does; that of v2 does not.
#[test]
#[ignore = "needs the freezer of cgroup v1"]
fn a_process_that_cannot_be_killed_is_left_to_itself() {
    let group = PathBuf::from(format!("/sys/fs/cgroup/freezer/phoenix-nvidia-test-{}", std::process::id()));
    fs_err::create_dir(&group).unwrap();
    let place = group.display();
    let script = format!("echo $$ > {place}/tasks; echo FROZEN > {place}/freezer.state; sleep 1000");
    let error = shell(&script).deadline(Duration::from_millis(200)).run(&cancel()).unwrap_err();
    fs_err::write(group.join("freezer.state"), "THAWED").unwrap();
    assert!(error.message().contains(") cannot be killed: it waits in the kernel"), "{error:?}");
    assert!(error.causes().iter().any(|cause| cause.contains("did not end within 0.2 s")), "{error:?}");
    while fs_err::remove_dir(&group).is_err() {
        std::thread::yield_now();
    }
}

#[test]
fn a_child_left_behind_does_not_hold_us_up() {
    let started = Instant::now();
    let output = shell("sleep 1000 & echo done").run(&cancel()).unwrap();
    assert_eq!(output.stdout, b"done\n");
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn endless_output_is_cut() {
    let error = shell("yes").output_limit(10_000).run(&cancel()).unwrap_err();
    assert!(error.message().contains("printed more than 10000 bytes"), "{error}");
}

#[test]
fn an_interruption_ends_it() {
    let cancel = cancel();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| shell("sleep 1000").run(&cancel));
        cancel.request();
        assert_eq!(running.join().unwrap().unwrap_err().kind(), Kind::Interrupted);
    });
}

#[test]
fn a_missing_program_is_named_with_what_to_do() {
    let error = Command::new("no-such-program").run(&cancel()).unwrap_err();
    assert_eq!(error.message(), "`no-such-program` could not be started");
    assert_eq!(error.hint_text(), Some("install the package that has `no-such-program`"));
}

#[test]
fn a_failure_shows_the_command_as_one_could_paste_it() {
    let error = shell("echo 'it broke' >&2; exit 1").run_ok(&cancel()).unwrap_err();
    assert_eq!(error.message(), r"`sh -c 'echo '\''it broke'\'' >&2; exit 1'` failed with exit code 1");
    assert_eq!(error.output_text(), Some("it broke"));
}

#[test]
fn control_characters_do_not_reach_the_terminal() {
    assert_eq!(last_lines("a\x1b[31mb\n\n\x07c"), "a[31mb\nc");
}
