//! A store that cannot be written.

use std::{fs, io::Write, path::Path};

use netpath_tests::fixture::{Fixture, NodeState, error_defect};
use nix::mount::{MsFlags, mount};
use serde_json::Value;

/// A fixture whose state directory is a tmpfs of 4 MiB.
fn with_small_state_directory() -> Fixture {
    let mut fixture = Fixture::with_fast_reconcile();
    let directory = fixture.daemon.state_dir();
    let file = directory.join("state.redb");
    fixture.daemon.stop();
    let content = fs::read(&file).expect("read");
    let (tmpfs, none) = (Some("tmpfs"), MsFlags::empty());
    mount(tmpfs, &directory, tmpfs, none, Some("size=4m")).expect("mount");
    fs::write(&file, content).expect("write");
    fixture.daemon.restart();
    fixture
}

/// Writes a file until no space is left.
fn fill(path: &Path) {
    let mut file = fs::File::create(path).expect("create");
    for block in [&[1; 4096][..], &[1]] {
        while file.write_all(block).is_ok() {}
    }
}

/// Status as JSON, and the exit status of the command.
fn status(fixture: &Fixture) -> (Value, Option<i32>) {
    let output = fixture.daemon.cli(&["status", "--output", "json"]);
    let value = serde_json::from_str(&output.stdout).expect("JSON");
    (value, output.status)
}

#[test]
fn class6_full_disk_is_reported_and_writes_continue_when_there_is_space() {
    let mut fixture = with_small_state_directory();
    fixture.echo_sandbox("web", "-p 8080:80");
    let mut line = fixture.connect_from_outside(8080).expect("connection");
    let before = NodeState::of(&fixture);
    let ballast = fixture.daemon.state_dir().join("ballast");
    for round in 0..2 {
        fill(&ballast);
        let mut refused = None;
        // Free pages of the file take the first changes.
        for number in 0..200 {
            let name = format!("r{round}-{number}");
            let output = fixture
                .daemon
                .cli(&["sandbox", "create", &name, "--network", "none"]);
            if output.status != Some(0) {
                refused = Some(output);
                break;
            }
            fill(&ballast);
        }
        let refused = refused.expect("a change is refused");
        let words = ["state.redb", "No space left on device", "free space"];
        assert_eq!(error_defect(&refused, 1, &words), None);
        let (shown, exit) = status(&fixture);
        assert_eq!(exit, Some(1), "{shown}");
        assert_eq!(shown["ready"], false);
        assert_eq!(shown["store"]["writable"], false);
        let degraded = shown["degraded"].to_string();
        assert!(degraded.contains("No space left on device"), "{degraded}");
        line.exchange_line();

        fs::remove_file(&ballast).expect("remove");
        fixture.cli_ok(&format!("sandbox create after{round} --network none"));
        let (shown, exit) = status(&fixture);
        assert_eq!(exit, Some(0), "{shown}");
        assert_eq!(shown["store"]["writable"], true);
        let log = fixture.daemon.process().output();
        assert!(log.contains("cannot write the store"), "{log}");
        line.exchange_line();
    }
    let there = fixture.sandboxes();
    fixture.daemon.restart();
    assert_eq!(
        fixture.sandboxes(),
        there,
        "every confirmed change is stored"
    );
    for name in there.iter().filter(|name| *name != "web") {
        fixture.cli_ok(&format!("sandbox rm {name}"));
    }
    assert_eq!(NodeState::of(&fixture), before);
}

/// Fills the disk until changes are refused.
fn fill_until_refused(fixture: &Fixture, ballast: &Path) {
    fill(ballast);
    for number in 0..200 {
        let name = format!("x{number}");
        let created = fixture
            .daemon
            .cli(&["sandbox", "create", &name, "--network", "none"]);
        if created.status != Some(0) {
            return;
        }
        fill(ballast);
    }
    panic!("no change is refused");
}

/// A lost namespace is not replaced by an empty one while its removal cannot be stored, and each failure is logged once.
#[test]
fn class6_lost_namespace_is_not_replaced_while_the_store_is_full() {
    let mut fixture = with_small_state_directory();
    fixture.echo_sandbox("web", "-p 8080:80");
    fixture.echo_sandbox("stays", "-p 8081:80");
    let ballast = fixture.daemon.state_dir().join("ballast");
    fill_until_refused(&fixture, &ballast);
    let path = fixture.daemon.run_dir().join("netns/web");
    nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH).expect("unmount");
    let log = |fixture: &mut Fixture, words: &str| {
        let log = fixture.daemon.process().output();
        log.lines().filter(|line| line.contains(words)).count()
    };
    // Several reconciles and checks of the sandboxes.
    std::thread::sleep(std::time::Duration::from_secs(6));
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&path.display().to_string()), "{mounts}");
    fixture.assert_published(8081, "stays");
    let ended = "cannot remove a sandbox that has ended";
    assert_eq!(log(&mut fixture, ended), 1);
    assert_eq!(log(&mut fixture, "cannot write the store"), 1);
    let (shown, _) = status(&fixture);
    assert_eq!(shown["store"]["writable"], false, "{shown}");

    fs::remove_file(&ballast).expect("remove");
    fixture.wait_for("the sandbox is removed", || {
        !fixture.sandboxes().contains(&"web".to_owned())
    });
    assert_eq!(log(&mut fixture, "the store can be written again"), 1);
    assert!(!path.exists(), "the mount point is left");
    fixture.assert_published(8081, "stays");
    fixture.echo_sandbox("web", "-p 8080:80");
    fixture.assert_published(8080, "web");
}

/// The file on which a namespace was mounted is removed with the sandbox.
#[test]
fn class6_mount_point_of_a_lost_namespace_is_removed() {
    let mut fixture = Fixture::with_fast_reconcile();
    let directory = fixture.daemon.run_dir().join("netns");
    for stopped in [false, true] {
        fixture.cli_ok("sandbox create web");
        let path = directory.join("web");
        if stopped {
            fixture.daemon.stop();
        }
        nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH).expect("unmount");
        if stopped {
            fixture.daemon.restart();
        }
        fixture.wait_for("the sandbox is removed", || fixture.sandboxes().is_empty());
        fixture.wait_for("the mount point is removed", || !path.exists());
    }
    // A file of an interrupted creation.
    fs::write(directory.join("half"), "").expect("file");
    fixture.wait_for("the file is removed", || !directory.join("half").exists());
}
