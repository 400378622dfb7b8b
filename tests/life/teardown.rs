//! Everything goes, and comes back.

use std::fs;

use netpath_tests::{Daemon, Topology};

use crate::{
    traces::Traces,
    world::{World, greeting_on, serve},
};

fn traces(world: &mut World) -> Traces {
    let (bpf_dir, pid) = (world.daemon.bpf_dir(), world.daemon.process().pid());
    Traces::of(bpf_dir, pid, &world.topology.host)
}

fn filled() -> World {
    let world = World::new();
    world.ok("network create blue --ipv6 --subnet 10.77.0.0/24");
    world.server("web", "--network blue -p 8080:80");
    world.ok("sandbox create other --network bridge --network blue");
    world
}

#[track_caller]
fn assert_files_gone(world: &World) {
    let daemon = &world.daemon;
    assert!(!daemon.run_dir().exists(), "the run directory is left");
    assert!(!daemon.bpf_dir().exists(), "the directory of pins is left");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    let run_dir = daemon.run_dir().display().to_string();
    assert!(!mounts.contains(&run_dir), "a mount is left");
}

fn comes_back(world: &mut World) {
    world.daemon.restart();
    let names = world.json("network ls");
    let names: Vec<_> = names.as_array().expect("list").iter().collect();
    assert!(names.iter().any(|network| network["name"] == "blue"));
    assert_eq!(world.sandboxes(), [""; 0]);
    assert_eq!(world.json("port ls"), serde_json::json!([]));
    world.server("web", "--network blue -p 8080:80");
    world.assert_published(8080, "web");
}

#[test]
fn teardown_leaves_nothing_and_the_next_start_has_the_networks() {
    let mut world = filled();
    let traces = traces(&mut world);
    let mut events = world.events();
    world.ok("teardown");
    world.daemon.stop();
    events.wait(std::time::Duration::from_secs(5));
    traces.assert_gone();
    assert_files_gone(&world);
    comes_back(&mut world);
}

#[test]
fn forced_teardown_without_a_daemon_leaves_nothing() {
    let mut world = filled();
    let traces = traces(&mut world);
    let directories: Vec<String> = [
        ("--run-dir", world.daemon.run_dir()),
        ("--state-dir", world.daemon.state_dir()),
        ("--bpf-dir", world.daemon.bpf_dir()),
    ]
    .iter()
    .flat_map(|(flag, path)| [(*flag).to_owned(), path.display().to_string()])
    .collect();
    let mut command = vec!["teardown".to_owned(), "--force".to_owned()];
    command.extend(directories);
    let refused = world.daemon.cli(&command).failure(1);
    assert!(refused.contains("another daemon"), "{refused}");
    assert_eq!(refused.lines().count(), 1, "{refused}");
    world.assert_published(8080, "web");

    world.daemon.kill9();
    world.daemon.cli(&command).success();
    traces.assert_gone();
    assert_files_gone(&world);
    comes_back(&mut world);
}

#[test]
fn a_second_daemon_on_the_same_run_directory_is_refused() {
    let mut world = World::new();
    world.server("web", "-p 8080:80");
    let shown = world.shown();
    let flag = |name: &str, path: std::path::PathBuf| [name.to_owned(), path.display().to_string()];
    let mut command = vec!["daemon".to_owned()];
    command.extend(flag("--run-dir", world.daemon.run_dir()));
    command.extend(flag("--state-dir", world.daemon.state_dir()));
    command.extend(flag("--bpf-dir", world.daemon.bpf_dir()));
    let line = world.daemon.cli(&command).failure(1);
    assert!(line.contains("another daemon uses"), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert_eq!(world.shown(), shown);
    world.assert_published(8080, "web");
    world.daemon.restart();
    world.assert_published(8080, "web");
}

/// Both attach to the parent of both cgroups, so each sees the other's sockets.
#[test]
fn two_nodes_on_one_machine_do_not_see_each_other() {
    let nodes = ["one", "two"].map(|name| {
        let topology = Topology::new();
        let cgroup = topology.host.cgroup().expect("cgroup");
        let parent = cgroup.parent().expect("parent").display().to_string();
        let daemon = Daemon::builder(&topology.host)
            .argument("--node")
            .argument(name)
            .argument("--cgroup")
            .argument(&parent)
            .start();
        let world = World { daemon, topology };
        world.ok(&format!("sandbox create web-{name} -p 8080:80"));
        let netns = world.netns(&format!("web-{name}"));
        serve(&netns, 80, name);
        world
    });
    for (world, name) in nodes.iter().zip(["one", "two"]) {
        assert_eq!(world.sandboxes(), [format!("web-{name}")]);
        world.assert_published(8080, name);
        let own = greeting_on(&world.topology.host, "192.0.2.1", 8080);
        assert_eq!(own.as_deref(), Ok(name));
    }
    let [mut one, mut two] = nodes;
    one.ok("teardown");
    one.daemon.stop();
    two.assert_published(8080, "two");
    two.daemon.restart();
    two.assert_published(8080, "two");
    assert!(one.greeting_on_host("127.0.0.1", 8080).is_err());
}
