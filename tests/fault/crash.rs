//! A daemon killed during a change: the next start completes or reverts it.

use std::{collections::BTreeSet, fs, thread, time::Duration};

use netpath_tests::{fixture::Fixture, pin_names};
use serde_json::Value;

fn list(value: &Value) -> Vec<&Value> {
    value.as_array().expect("list").iter().collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Fails unless state, devices, pins, namespaces and maps agree.
#[track_caller]
pub(crate) fn assert_consistent(fixture: &Fixture) {
    let sandboxes = fixture.json("sandbox ls");
    let sandboxes = list(&sandboxes);
    let directory = fixture.daemon.run_dir().join("netns");
    let endpoints: Vec<&Value> = sandboxes
        .iter()
        .flat_map(|sandbox| list(&sandbox["endpoints"]))
        .collect();
    let wanted: BTreeSet<String> = endpoints
        .iter()
        .map(|endpoint| text(&endpoint["host_interface"]))
        .collect();
    let devices: BTreeSet<String> = fixture
        .devices()
        .into_iter()
        .filter(|name| name.starts_with("npv-"))
        .collect();
    assert_eq!(devices, wanted, "devices");

    let filled = fixture.json("map dump endpoints");
    let filled: BTreeSet<String> = list(&filled)
        .iter()
        .map(|entry| text(&entry["sandbox"]))
        .collect();
    let names: BTreeSet<String> = sandboxes
        .iter()
        .map(|sandbox| text(&sandbox["name"]))
        .collect();
    assert_eq!(filled, names, "map of endpoints");

    let sorted = |dump: &str| {
        let dump = fixture.json(dump);
        let without_owner = |port: &&Value| {
            // The pinned maps do not contain owners.
            let mut port = (*port).clone();
            port.as_object_mut().map(|fields| fields.remove("owner"));
            port.to_string()
        };
        let mut ports: Vec<String> = list(&dump).iter().map(without_owner).collect();
        ports.sort();
        ports
    };
    assert_eq!(sorted("map dump ports"), sorted("port ls"), "map of ports");

    let links = pin_names(&fixture.daemon.bpf_dir().join("links"));
    let pinned: BTreeSet<String> = links
        .iter()
        .filter_map(|pin| Some(pin.to_str()?.rsplit_once('-')?.0.to_owned()))
        .filter(|name| name.starts_with("npv-"))
        .collect();
    assert_eq!(pinned, wanted, "pins");

    let mounted: BTreeSet<String> = fs::read_dir(&directory)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().display().to_string())
        .collect();
    let wanted: BTreeSet<String> = sandboxes
        .iter()
        .map(|sandbox| text(&sandbox["netns"]))
        .filter(|path| path.starts_with(&directory.display().to_string()))
        .collect();
    assert_eq!(mounted, wanted, "namespaces");
}

/// A restart takes seconds, mostly in the verifier. `NETPATH_KILL_ROUNDS` sets the number of rounds.
fn rounds() -> u64 {
    let value = std::env::var("NETPATH_KILL_ROUNDS").ok();
    value.and_then(|text| text.parse().ok()).unwrap_or(20)
}

#[test]
fn kills_during_changes_leave_a_consistent_node() {
    let mut fixture = Fixture::with_fast_reconcile();
    fixture.echo_sandbox("stays", "-p 7999:80");
    let mut made = Vec::new();
    for round in 0..rounds() {
        let name = format!("s{round}");
        let port = 8000 + round;
        // Every third round removes a sandbox, the others create one.
        let command = match made.pop() {
            Some(name) if round % 3 == 2 => format!("sandbox rm {name}"),
            popped => {
                made.extend(popped);
                made.push(name.clone());
                format!("sandbox create {name} -p {port}:80 --network bridge")
            }
        };
        let words: Vec<&str> = command.split(' ').collect();
        let running = fixture.daemon.spawn(&words);
        // The delays range from before the request arrives to after its reply.
        thread::sleep(Duration::from_millis((round * 7) % 60));
        fixture.daemon.kill9();
        drop(running);
        fixture.daemon.restart();
        assert_consistent(&fixture);
        let there = fixture.sandboxes();
        made.retain(|name| there.contains(name));
        if let Some(name) = made.last() {
            let ports = fixture.json(&format!("port ls {name}"));
            assert_eq!(list(&ports).len(), 1, "{name} has its port");
            fixture.cli_ok(&format!("sandbox exec {name} -- ip route get 192.0.2.9"));
        }
    }
    fixture.assert_published(7999, "stays");
    for name in fixture.sandboxes() {
        fixture.cli_ok(&format!("sandbox rm {name}"));
    }
    assert_consistent(&fixture);
}
