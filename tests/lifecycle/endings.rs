//! Sandboxes that end with a process or a namespace, and sandboxes that do not.

use std::{fs, path::Path, time::Duration};

use netpath_tests::{Netns, Process, eventually, fixture::Fixture};
use nix::sys::signal::Signal;

/// Seconds within which a sandbox must be removed.
const LIMIT: u64 = 5;

#[track_caller]
fn wait_gone(fixture: &Fixture, name: &str) {
    eventually(&format!("sandbox {name} is removed"), LIMIT, || {
        !fixture.sandboxes().iter().any(|found| found == name)
    });
    eventually("its devices are removed", LIMIT, || {
        fixture
            .devices()
            .iter()
            .all(|device| device.starts_with("npb-"))
    });
    for list in ["port ls", "map dump endpoints", "map dump ports"] {
        assert_eq!(fixture.json(list), serde_json::json!([]), "{list}");
    }
    assert!(fixture.connect_from_outside(8080).is_err());
}

/// A process in a network namespace of its own.
fn alone(fixture: &Fixture) -> Process {
    let process = fixture.topology.host.start(&[
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
fn foreground_command_returns_its_status_and_leaves_nothing() {
    let fixture = Fixture::with_fast_reconcile();
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("kill -KILL $$", 137),
        ("kill -TERM $$", 143),
    ] {
        let ran = fixture.daemon.cli(&[
            "run", "--name", "one", "-p", "8080:80", "--", "sh", "-c", script,
        ]);
        assert_eq!(ran.status, Some(status), "{script}: {}", ran.stderr);
        assert_eq!(fixture.sandboxes(), [""; 0], "{script}");
    }
    for (command, status) in [("/nowhere", 127), ("/etc/passwd", 126)] {
        let ran = fixture.daemon.cli(&["run", "--name", "one", "--", command]);
        let line = ran.failure(status);
        assert_eq!(line.lines().count(), 1, "{line}");
        assert_eq!(fixture.sandboxes(), [""; 0], "{command}");
    }
    let shown = fixture.daemon.cli(&[
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
    wait_gone(&fixture, "one");
}

fn words(text: &str) -> Vec<&str> {
    text.split_whitespace().collect()
}

#[test]
fn signals_are_forwarded_to_a_foreground_command() {
    let fixture = Fixture::with_fast_reconcile();
    let script = "trap 'exit 41' TERM; trap 'exit 42' INT; trap 'exit 43' HUP; echo ready; while :; do sleep 0.05; done";
    for (signal, status) in [
        (Signal::SIGTERM, 41),
        (Signal::SIGINT, 42),
        (Signal::SIGHUP, 43),
    ] {
        let mut ran = fixture
            .daemon
            .spawn(&["run", "--name", "one", "--", "sh", "-c", script]);
        ran.wait_for_output("ready");
        assert_eq!(fixture.sandboxes(), ["one"]);
        ran.signal(signal);
        assert_eq!(ran.wait(Duration::from_secs(5)), Some(status), "{signal}");
        assert_eq!(fixture.sandboxes(), [""; 0], "{signal}");
    }
}

#[test]
fn sandbox_is_removed_when_its_command_line_is_killed() {
    let fixture = Fixture::with_fast_reconcile();
    let mut ran = fixture.daemon.spawn(&[
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
    wait_gone(&fixture, "one");
    eventually("the command has ended", LIMIT, || {
        !Path::new(&format!("/proc/{inner}")).exists()
    });
}

#[test]
fn sandbox_of_a_detached_command_is_removed_with_its_process() {
    let fixture = Fixture::with_fast_reconcile();
    let output = fixture.daemon.command(&[
        "run", "-d", "--name", "one", "-p", "8080:80", "--", "sleep", "1000",
    ]);
    let mut output = output;
    let output = output.output().expect("run");
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "one");
    fixture.serve_echo("one");
    fixture.assert_published(8080, "one");
    let inside = fixture.cli_ok("sandbox exec one -- ip netns identify");
    assert_eq!(inside.trim(), "");
    let pid = sleeper(&fixture, "one");
    kill(pid);
    wait_gone(&fixture, "one");
}

/// Without its sandbox, the process would run without a network.
#[test]
fn class6_sandbox_with_a_running_command_is_removed_only_with_force() {
    let fixture = Fixture::with_fast_reconcile();
    let mut output = fixture.daemon.command(&[
        "run", "-d", "--name", "one", "-p", "8080:80", "--", "sleep", "1000",
    ]);
    output.output().expect("run");
    let pid = sleeper(&fixture, "one");
    let shown = &fixture.json("sandbox inspect one")[0];
    assert_eq!(shown["pid"], pid);
    assert_eq!(shown["state"], "running");
    assert!(fixture.cli_ok("sandbox ls").contains(&pid.to_string()));
    let refused = fixture.cli("sandbox rm one").failure(1);
    assert!(
        refused.contains(&pid.to_string()) && refused.contains("-f"),
        "{refused}"
    );
    fixture.serve_echo("one");
    fixture.assert_published(8080, "one");
    fixture.cli_ok("sandbox rm -f one");
    let alive = fs::read_to_string(format!("/proc/{pid}/stat"));
    assert!(alive.is_err() || alive.is_ok_and(|stat| stat.contains(") Z ")));
    wait_gone(&fixture, "one");

    let mut ran = fixture.daemon.spawn(&[
        "run",
        "--name",
        "two",
        "--",
        "sh",
        "-c",
        "echo ready; exec sleep 1000",
    ]);
    ran.wait_for_output("ready");
    fixture.cli("sandbox rm two").failure(1);
    fixture.cli_ok("sandbox rm -f two");
    assert_eq!(ran.wait(Duration::from_secs(5)), Some(143));
    wait_gone(&fixture, "two");

    // netpath does not stop a process that it has not started.
    let adopted = alone(&fixture);
    fixture.cli_ok(&format!("sandbox create three --pid {}", adopted.pid()));
    let shown = &fixture.json("sandbox inspect three")[0];
    assert_eq!(shown["pid"], adopted.pid());
    fixture.cli_ok("sandbox rm -f three");
    assert!(Path::new(&format!("/proc/{}/ns", adopted.pid())).exists());
    fixture.cli_ok("sandbox create four");
    let shown = &fixture.json("sandbox inspect four")[0];
    assert_eq!(
        (&shown["state"], &shown["pid"]),
        (&"created".into(), &serde_json::Value::Null)
    );
}

/// The process that owns the namespace of a sandbox.
#[track_caller]
fn sleeper(fixture: &Fixture, sandbox: &str) -> i32 {
    let namespace = fs::metadata(fixture.inspect(sandbox).netns.path()).expect("namespace");
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
fn sandbox_of_a_process_is_removed_with_the_process() {
    let fixture = Fixture::with_fast_reconcile();
    let mut process = alone(&fixture);
    fixture.echo_sandbox("one", &format!("--pid {} -p 8080:80", process.pid()));
    fixture.assert_published(8080, "one");
    process.signal(Signal::SIGKILL);
    process.wait(Duration::from_secs(5));
    wait_gone(&fixture, "one");
}

#[test]
fn sandbox_at_a_path_is_removed_with_the_path_and_its_namespace_stays() {
    let fixture = Fixture::with_fast_reconcile();
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
    fixture.echo_sandbox("one", &format!("--netns {} -p 8080:80", path.display()));
    fixture.assert_published(8080, "one");
    assert!(links_in(&adopted).contains("eth0"));
    nix::mount::umount(&path).expect("umount");
    fs::remove_file(&path).expect("remove");
    wait_gone(&fixture, "one");
    assert!(!links_in(&adopted).contains("eth0"));
    assert!(adopted.path().exists());

    // Removing the sandbox removes its links from the namespace, and nothing else.
    let own = adopted.path().display().to_string();
    fixture.cli_ok(&format!("sandbox create one --netns {own}"));
    adopted.exec("ip link add kept type bridge");
    fixture.cli_ok("sandbox rm one");
    let links = links_in(&adopted);
    assert!(links.contains("kept") && !links.contains("eth0"), "{links}");
}

#[test]
fn sandboxes_that_end_while_the_daemon_is_down_are_removed_at_start() {
    let mut fixture = Fixture::with_fast_reconcile();
    let mut process = alone(&fixture);
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
    fixture.cli_ok(&format!("sandbox create p --pid {}", process.pid()));
    fixture.cli_ok(&format!(
        "sandbox create n --netns {} -p 8080:80",
        path.display()
    ));
    fixture.cli_ok("sandbox create c --network container:n");
    fixture.echo_sandbox("stays", "-p 8081:80");
    let mut ran = fixture.daemon.spawn(&[
        "run",
        "--name",
        "r",
        "--",
        "sh",
        "-c",
        "echo ready; sleep 1000",
    ]);
    ran.wait_for_output("ready");
    fixture.daemon.kill9();
    for process in [&mut process, &mut ran] {
        process.signal(Signal::SIGKILL);
        process.wait(Duration::from_secs(5));
    }
    nix::mount::umount(&path).expect("umount");
    fixture.daemon.restart();
    assert_eq!(fixture.sandboxes(), ["stays"]);
    fixture.assert_published(8081, "stays");
    assert!(!links_in(&adopted).contains("eth0"));
    let endpoints = fixture.json("map dump endpoints");
    assert_eq!(endpoints.as_array().map(Vec::len), Some(1));
}

#[test]
fn sandbox_in_the_namespace_of_another_is_removed_with_it() {
    let fixture = Fixture::with_fast_reconcile();
    fixture.echo_sandbox("one", "-p 8080:80");
    fixture.cli_ok("sandbox create two --network container:one");
    let links =
        ["one", "two"].map(|name| fixture.cli_ok(&format!("sandbox exec {name} -- ip -o addr")));
    assert_eq!(links[0], links[1]);
    let refused = fixture.cli("sandbox rm one").failure(1);
    assert!(refused.contains("two"), "{refused}");
    fixture.assert_published(8080, "one");
    fixture.cli_ok("sandbox rm two");
    fixture.assert_published(8080, "one");
    fixture.cli_ok("sandbox rm one");
    wait_gone(&fixture, "one");
}

#[test]
fn exec_returns_the_commands_status_and_runs_in_the_sandbox() {
    let fixture = Fixture::with_fast_reconcile();
    fixture.cli_ok("sandbox create one --hostname inner");
    assert_eq!(fixture.cli("sandbox exec one -- false").status, Some(1));
    assert_eq!(
        fixture.cli_ok("sandbox exec one -- hostname").trim(),
        "inner"
    );
    fixture.cli("sandbox exec one -- /nowhere").failure(127);
    let line = fixture.cli("sandbox exec onee -- true").failure(1);
    assert!(line.contains("one"), "{line}");
    assert_eq!(fixture.sandboxes(), ["one"]);
}

/// The namespace of the node has a path that does not depend on the process of the daemon.
#[test]
fn class6_sandbox_in_the_namespace_of_the_node_is_entered_after_restarts() {
    let mut fixture = Fixture::with_fast_reconcile();
    fixture.cli_ok("sandbox create one --network host");
    fixture.cli_ok("sandbox create two --network container:one");
    let own = fixture.topology.host.exec("readlink /proc/self/ns/net");
    let path = |fixture: &Fixture| {
        let shown = &fixture.json("sandbox inspect one")[0];
        shown["netns"].as_str().expect("path").to_owned()
    };
    let before = path(&fixture);
    assert!(!before.starts_with("/proc/"), "{before}");
    for killed in [false, true] {
        if killed {
            fixture.daemon.kill9();
        }
        fixture.daemon.restart();
        assert_eq!(path(&fixture), before);
        for name in ["one", "two"] {
            let inside = format!("sandbox exec {name} -- readlink /proc/self/ns/net");
            assert_eq!(fixture.cli_ok(&inside).trim(), own.trim(), "{name}");
        }
    }
    // While no daemon runs, the path names the same namespace.
    fixture.daemon.stop();
    let entered = format!("nsenter --net={before} readlink /proc/self/ns/net");
    assert_eq!(fixture.topology.host.exec(&entered).trim(), own.trim());
}

/// A reconcile must not replace the namespace by an empty one at the same path.
#[test]
fn class6_sandbox_whose_namespace_is_unmounted_is_removed_and_not_replaced() {
    let fixture = Fixture::with_fast_reconcile();
    for round in 0..6 {
        let name = format!("s{round}");
        fixture.cli_ok(&format!("sandbox create {name}"));
        let shown = &fixture.json(&format!("sandbox inspect {name}"))[0];
        let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
        let path = text(&shown["netns"]);
        let interface = text(&shown["endpoints"][0]["host_interface"]);
        nix::mount::umount2(path.as_str(), nix::mount::MntFlags::MNT_DETACH).expect("umount");
        // The event causes a reconcile. The end of the namespace may have removed the pair already.
        let words = ["ip", "link", "del", &interface];
        fixture.topology.host.run(&words);
        wait_gone(&fixture, &name);
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(&path), "a namespace is mounted at {path}");
    }
}

#[test]
fn path_below_proc_can_be_adopted() {
    let fixture = Fixture::with_fast_reconcile();
    let process = alone(&fixture);
    let path = format!("/proc/{}/ns/net", process.pid());
    fixture.echo_sandbox("one", &format!("--netns {path} -p 8080:80"));
    fixture.assert_published(8080, "one");
    drop(process);
    wait_gone(&fixture, "one");
}
