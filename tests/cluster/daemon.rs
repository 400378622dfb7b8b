//! A daemon with a distributed store, on each kind. `daemon_tests!` runs them on one kind.

use std::time::Duration;

use netpath_tests::{
    Daemon,
    fixture::{Fixture, Topology},
    stores::Servers,
};

/// The tests of this module, each with servers that the function `$start` starts.
#[macro_export]
macro_rules! daemon_tests {
    ($kind:literal, $start:path) => {
        #[test]
        fn daemon_works_while_the_store_is_away() {
            $crate::daemon::daemon_works_while_the_store_is_away($kind, $start);
        }

        #[test]
        fn daemon_refuses_a_store_that_it_cannot_use() {
            $crate::daemon::daemon_refuses_a_store_that_it_cannot_use($kind, $start);
        }
    };
}

fn url(kind: &str, servers: &impl Servers) -> String {
    format!("{kind}://{}", servers.settings().servers[0])
}

pub fn daemon_works_while_the_store_is_away<S: Servers + Send + Sync>(
    kind: &str,
    start: fn(usize) -> S,
) {
    let topology = Topology::new();
    let host = topology.host.clone();
    let mut servers = host.enter(|| start(1));
    let mut fixture = Fixture::start(topology, &["--store", &url(kind, &servers)], "");
    let status = fixture.status();
    assert_eq!(status["store"]["kind"], kind);
    assert_eq!(status["store"]["reachable"], true);
    assert_eq!(status["nodes"].as_array().unwrap().len(), 1);
    fixture.cli_ok("sandbox create one");

    servers.kill(0);
    fixture.wait_for("the status reports it", || {
        fixture.status()["store"]["reachable"] == false
    });
    let degraded = fixture.status()["degraded"].to_string();
    assert!(degraded.contains("127.0.0.1:"), "{degraded}");
    assert_eq!(fixture.status()["ready"], true);
    fixture.cli_ok("sandbox create two");
    fixture.daemon.restart();
    assert_eq!(fixture.sandboxes(), ["one", "two"]);
    assert_eq!(fixture.status()["nodes"].as_array().unwrap().len(), 1);
    fixture.cli_ok("sandbox rm two");

    host.enter(|| servers.resume(0));
    fixture.wait_for("the status reports it", || {
        let status = fixture.status();
        status["store"]["reachable"] == true && status["degraded"].as_array().unwrap().is_empty()
    });
    // The record of the node is in the store.
    let names = host.enter(|| {
        let store = servers.open(&servers.settings());
        store.list("shared/nodes/").unwrap().entries.len()
    });
    assert_eq!(names, 1);
    fixture.cli_ok("sandbox rm one");
    fixture.daemon.restart();
}

pub fn daemon_refuses_a_store_that_it_cannot_use<S: Servers + Send + Sync>(
    kind: &str,
    start: fn(usize) -> S,
) {
    let topology = Topology::new();
    let servers = topology.host.enter(|| start(1));
    topology
        .host
        .enter(|| servers.write("netpath/foreign", "1"));
    let mut daemon = Daemon::builder(&topology.host)
        .argument("--store")
        .argument(&url(kind, &servers))
        .start_unready();
    assert_eq!(daemon.process().wait(Duration::from_secs(60)), Some(1));
    let output = daemon.process().output();
    assert!(output.contains("'netpath/foreign'"), "{output}");
    daemon.kill9();
}
