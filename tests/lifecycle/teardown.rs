//! Teardown, restart, and several daemons.

use std::fs;

use netpath_tests::fixture::{BpfObjects, Fixture, Topology, query_with_shell, serve_echo};

fn objects(fixture: &mut Fixture) -> BpfObjects {
    let (bpf_dir, pid) = (fixture.daemon.bpf_dir(), fixture.daemon.process().pid());
    BpfObjects::of(bpf_dir, pid, fixture.host())
}

fn filled() -> Fixture {
    let fixture = Fixture::with_fast_reconcile();
    fixture.cli_ok("network create blue --ipv6 --subnet 10.77.0.0/24");
    fixture.echo_sandbox("web", "--network blue -p 8080:80");
    fixture.cli_ok("sandbox create other --network bridge --network blue");
    fixture
}

#[track_caller]
fn assert_files_gone(fixture: &Fixture) {
    let daemon = &fixture.daemon;
    assert!(!daemon.run_dir().exists(), "the run directory is left");
    assert!(!daemon.bpf_dir().exists(), "the directory of pins is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let run_dir = daemon.run_dir().display().to_string();
    assert!(!mounts.contains(&run_dir), "a mount is left");
}

fn assert_restart_works(fixture: &mut Fixture) {
    fixture.daemon.restart();
    let names = fixture.json("network ls");
    let names: Vec<_> = names.as_array().expect("list").iter().collect();
    assert!(names.iter().any(|network| network["name"] == "blue"));
    assert_eq!(fixture.sandboxes(), [""; 0]);
    assert_eq!(fixture.json("port ls"), serde_json::json!([]));
    fixture.echo_sandbox("web", "--network blue -p 8080:80");
    fixture.assert_published(8080, "web");
}

#[test]
fn teardown_leaves_nothing_and_next_start_restores_networks() {
    let mut fixture = filled();
    let objects = objects(&mut fixture);
    let mut events = fixture.events();
    fixture.cli_ok("teardown");
    fixture.daemon.stop();
    events.wait(std::time::Duration::from_secs(5));
    objects.assert_gone();
    assert_files_gone(&fixture);
    assert_restart_works(&mut fixture);
}

#[test]
fn forced_teardown_without_a_daemon_leaves_nothing() {
    let mut fixture = filled();
    let objects = objects(&mut fixture);
    let directories: Vec<String> = [
        ("--run-dir", fixture.daemon.run_dir()),
        ("--state-dir", fixture.daemon.state_dir()),
        ("--bpf-dir", fixture.daemon.bpf_dir()),
    ]
    .iter()
    .flat_map(|(flag, path)| [(*flag).to_owned(), path.display().to_string()])
    .collect();
    let mut command = vec!["teardown".to_owned(), "--force".to_owned()];
    command.extend(directories);
    let refused = fixture.daemon.cli(&command).failure(1);
    assert!(refused.contains("another daemon"), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
    fixture.assert_published(8080, "web");

    fixture.daemon.kill9();
    fixture.daemon.cli(&command).success();
    objects.assert_gone();
    assert_files_gone(&fixture);
    assert_restart_works(&mut fixture);
}

#[test]
fn second_daemon_on_a_run_directory_is_refused() {
    let mut fixture = Fixture::with_fast_reconcile();
    fixture.echo_sandbox("web", "-p 8080:80");
    let shown = fixture.lists();
    let flag = |name: &str, path: std::path::PathBuf| [name.to_owned(), path.display().to_string()];
    let mut command = vec!["daemon".to_owned()];
    command.extend(flag("--run-dir", fixture.daemon.run_dir()));
    command.extend(flag("--state-dir", fixture.daemon.state_dir()));
    command.extend(flag("--bpf-dir", fixture.daemon.bpf_dir()));
    let line = fixture.daemon.cli(&command).failure(1);
    assert!(line.contains("another daemon uses"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert_eq!(fixture.lists(), shown);
    fixture.assert_published(8080, "web");
    fixture.daemon.restart();
    fixture.assert_published(8080, "web");
}

/// Both daemons attach to the parent of both cgroups, so that each program sees the other's sockets.
#[test]
fn nodes_on_one_machine_are_independent() {
    let nodes = ["one", "two"].map(|name| {
        let topology = Topology::new();
        let cgroup = topology.host.cgroup().expect("cgroup");
        let parent = cgroup.parent().expect("parent").display().to_string();
        let arguments = ["--node", name, "--cgroup", &parent];
        let fixture = Fixture::start(topology, &arguments, "");
        fixture.cli_ok(&format!("sandbox create web-{name} -p 8080:80"));
        let netns = fixture.inspect(&format!("web-{name}")).netns;
        serve_echo(&netns, 80, name);
        fixture
    });
    for (fixture, name) in nodes.iter().zip(["one", "two"]) {
        assert_eq!(fixture.sandboxes(), [format!("web-{name}")]);
        fixture.assert_published(8080, name);
        let own = query_with_shell(fixture.host(), "192.0.2.1", 8080);
        assert_eq!(own.as_deref(), Ok(name));
    }
    let [mut one, mut two] = nodes;
    one.cli_ok("teardown");
    one.daemon.stop();
    two.assert_published(8080, "two");
    two.daemon.restart();
    two.assert_published(8080, "two");
    assert!(one.query_from_host("127.0.0.1", 8080).is_err());
}
