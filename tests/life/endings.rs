//! What ends with a process or a namespace, and what does not.

use std::{fs, path::Path, time::Duration};

use netpath_tests::{Netns, Process};
use nix::sys::signal::Signal;

use crate::world::{World, eventually};

/// As long as the contract lets it take.
const LIMIT: u64 = 5;

#[track_caller]
fn wait_gone(world: &World, name: &str) {
    eventually(&format!("sandbox {name} is gone"), LIMIT, || {
        !world.sandboxes().iter().any(|found| found == name)
    });
    eventually("its devices are gone", LIMIT, || {
        world
            .devices()
            .iter()
            .all(|device| device.starts_with("npb-"))
    });
    for list in ["port ls", "map dump endpoints", "map dump ports"] {
        assert_eq!(world.json(list), serde_json::json!([]), "{list}");
    }
    assert!(world.dial_from_outside(8080).is_err());
}

/// A process in a namespace of its own.
fn alone(world: &World) -> Process {
    let process = world.topology.host.start(&[
        "unshare",
        "--net",
        "sh",
        "-c",
        "echo there; exec sleep 1000",
    ]);
    let mut process = process;
    process.wait_for_output("there");
    process
}

fn links_in(netns: &Netns) -> String {
    netns.exec("ip -o link show")
}

#[test]
fn a_command_in_the_foreground_gives_its_status_and_leaves_nothing() {
    let world = World::new();
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let ran = world.daemon.cli(&[
            "run", "--name", "one", "-p", "8080:80", "--", "sh", "-c", script,
        ]);
        assert_eq!(ran.status, Some(status), "{script}: {}", ran.stderr);
        assert_eq!(world.sandboxes(), [""; 0], "{script}");
    }
    for (command, status) in [("/nowhere", 127), ("/etc/passwd", 126)] {
        let ran = world.daemon.cli(&["run", "--name", "one", "--", command]);
        let line = ran.failure(status);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(world.sandboxes(), [""; 0], "{command}");
    }
    let shown = world.daemon.cli(&[
        "run",
        "--name",
        "one",
        "--hostname",
        "inner",
        "--",
        "sh",
        "-c",
        "hostname; ls /sys/class/net",
    ]);
    assert_eq!(words(&shown.success()), ["inner", "eth0", "lo"]);
    wait_gone(&world, "one");
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn signals_are_forwarded_to_a_command_in_the_foreground() {
    let world = World::new();
    let script = "trap 'exit 41' TERM; trap 'exit 42' INT; trap 'exit 43' HUP; echo ready; while :; do sleep 0.05; done";
    for (signal, status) in [
        (Signal::SIGTERM, 41),
        (Signal::SIGINT, 42),
        (Signal::SIGHUP, 43),
    ] {
        let mut ran = world
            .daemon
            .spawn(&["run", "--name", "one", "--", "sh", "-c", script]);
        ran.wait_for_output("ready");
        assert_eq!(world.sandboxes(), ["one"]);
        ran.signal(signal);
        assert_eq!(ran.wait(Duration::from_secs(5)), Some(status), "{signal}");
        assert_eq!(world.sandboxes(), [""; 0], "{signal}");
    }
}

#[test]
fn a_killed_command_line_takes_its_sandbox_along() {
    let world = World::new();
    let mut ran = world.daemon.spawn(&[
        "run",
        "--name",
        "one",
        "-p",
        "8080:80",
        "--",
        "sh",
        "-c",
        "echo $$; exec sleep 1000",
    ]);
    ran.wait_for_output("\n");
    let inner: i32 = ran.output().trim().parse().expect("number");
    ran.signal(Signal::SIGKILL);
    ran.wait(Duration::from_secs(5));
    wait_gone(&world, "one");
    eventually("the command has ended", LIMIT, || {
        !Path::new(&format!("/proc/{inner}")).exists()
    });
}

#[test]
fn a_detached_command_ends_with_its_process() {
    let world = World::new();
    let output = world.daemon.command(&[
        "run", "-d", "--name", "one", "-p", "8080:80", "--", "sleep", "1000",
    ]);
    let mut output = output;
    let output = output.output().expect("run");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "one");
    world.serve("one");
    world.assert_published(8080, "one");
    let inside = world.ok("sandbox exec one -- ip netns identify");
    assert_eq!(inside.trim(), "");
    let pid = sleeper(&world, "one");
    kill(pid);
    wait_gone(&world, "one");
}

/// The process whose namespace is that of a sandbox.
#[track_caller]
fn sleeper(world: &World, sandbox: &str) -> i32 {
    let namespace = fs::metadata(world.netns(sandbox).path()).expect("namespace");
    let inode = std::os::unix::fs::MetadataExt::ino(&namespace);
    fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .find(|pid| {
            let link = fs::read_link(format!("/proc/{pid}/ns/net"));
            link.is_ok_and(|link| link.to_string_lossy().contains(&inode.to_string()))
        })
        .expect("a process in the sandbox")
}

fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).expect("kill");
}

#[test]
fn a_sandbox_of_a_process_ends_with_it() {
    let world = World::new();
    let mut process = alone(&world);
    world.server("one", &format!("--pid {} -p 8080:80", process.pid()));
    world.assert_published(8080, "one");
    process.signal(Signal::SIGKILL);
    process.wait(Duration::from_secs(5));
    wait_gone(&world, "one");
}

#[test]
fn a_sandbox_at_a_path_ends_with_the_path_and_its_namespace_stays() {
    let world = World::new();
    let adopted = Netns::new("adopted");
    let directory = tempfile::TempDir::with_prefix("npt-adopted-").expect("directory");
    let path = directory.path().join("net");
    fs::write(&path, "").expect("mount point");
    let bind = |from: &Path| {
        nix::mount::mount(
            Some(from),
            &path,
            None::<&str>,
            nix::mount::MsFlags::MS_BIND,
            None::<&str>,
        )
        .expect("mount");
    };
    bind(&adopted.path());
    world.server("one", &format!("--netns {} -p 8080:80", path.display()));
    world.assert_published(8080, "one");
    assert!(links_in(&adopted).contains("eth0"));
    nix::mount::umount(&path).expect("umount");
    fs::remove_file(&path).expect("remove");
    wait_gone(&world, "one");
    assert!(!links_in(&adopted).contains("eth0"));
    assert!(adopted.path().exists());

    // Removed by hand, the namespace loses the links and nothing else.
    let own = adopted.path().display().to_string();
    world.ok(&format!("sandbox create one --netns {own}"));
    adopted.exec("ip link add kept type bridge");
    world.ok("sandbox rm one");
    let links = links_in(&adopted);
    assert!(links.contains("kept") && !links.contains("eth0"), "{links}");
}

#[test]
fn what_ends_while_the_daemon_is_down_is_gone_when_it_returns() {
    let mut world = World::new();
    let mut process = alone(&world);
    let adopted = Netns::new("adopted");
    let directory = tempfile::TempDir::with_prefix("npt-adopted-").expect("directory");
    let path = directory.path().join("net");
    fs::write(&path, "").expect("mount point");
    nix::mount::mount(
        Some(&adopted.path()),
        &path,
        None::<&str>,
        nix::mount::MsFlags::MS_BIND,
        None::<&str>,
    )
    .expect("mount");
    world.ok(&format!("sandbox create p --pid {}", process.pid()));
    world.ok(&format!(
        "sandbox create n --netns {} -p 8080:80",
        path.display()
    ));
    world.ok("sandbox create c --network container:n");
    world.server("stays", "-p 8081:80");
    let mut ran = world.daemon.spawn(&[
        "run",
        "--name",
        "r",
        "--",
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ]);
    ran.wait_for_output("ready");
    world.daemon.kill9();
    for process in [&mut process, &mut ran] {
        process.signal(Signal::SIGKILL);
        process.wait(Duration::from_secs(5));
    }
    nix::mount::umount(&path).expect("umount");
    world.daemon.restart();
    assert_eq!(world.sandboxes(), ["stays"]);
    world.assert_published(8081, "stays");
    assert!(!links_in(&adopted).contains("eth0"));
    let endpoints = world.json("map dump endpoints");
    assert_eq!(endpoints.as_array().map(Vec::len), Some(1));
}

#[test]
fn a_sandbox_in_another_ones_namespace_shares_everything_and_goes_with_it() {
    let world = World::new();
    world.server("one", "-p 8080:80");
    world.ok("sandbox create two --network container:one");
    let links = ["one", "two"].map(|name| world.ok(&format!("sandbox exec {name} -- ip -o addr")));
    assert_eq!(links[0], links[1]);
    let refused = world.cli("sandbox rm one").failure(1);
    assert!(refused.contains("two"), "{refused}");
    world.assert_published(8080, "one");
    world.ok("sandbox rm two");
    world.assert_published(8080, "one");
    world.ok("sandbox rm one");
    wait_gone(&world, "one");
}

#[test]
fn exec_gives_the_commands_status_and_sees_the_sandbox() {
    let world = World::new();
    world.ok("sandbox create one --hostname inner");
    assert_eq!(world.cli("sandbox exec one -- false").status, Some(1));
    assert_eq!(world.ok("sandbox exec one -- hostname").trim(), "inner");
    world.cli("sandbox exec one -- /nowhere").failure(127);
    let line = world.cli("sandbox exec onee -- true").failure(1);
    assert!(line.contains("one"), "{line}");
    assert_eq!(world.sandboxes(), ["one"]);
}

#[test]
fn a_path_below_proc_can_be_adopted() {
    let world = World::new();
    let process = alone(&world);
    let path = format!("/proc/{}/ns/net", process.pid());
    world.server("one", &format!("--netns {path} -p 8080:80"));
    world.assert_published(8080, "one");
    drop(process);
    wait_gone(&world, "one");
}
