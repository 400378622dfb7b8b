//! A daemon killed during a change: the next start completes or reverses it.

use std::{
    collections::BTreeSet,
    fs, thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    fixture::{self, Fixture},
    pin_names,
};
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
    let mut filled: Vec<String> = list(&filled)
        .iter()
        .map(|entry| text(&entry["sandbox"]))
        .collect();
    filled.sort();
    // A sandbox has an entry for each of its networks, and none if it was disconnected from all.
    let mut names: Vec<String> = sandboxes
        .iter()
        .flat_map(|sandbox| {
            list(&sandbox["endpoints"])
                .into_iter()
                .map(|_| text(&sandbox["name"]))
        })
        .collect();
    names.sort();
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

/// Number of kills: `NETPATH_KILL_ROUNDS`, or as many as fit into `NETPATH_KILL_SECONDS`.
fn rounds() -> (u64, Duration) {
    let number = |key: &str| std::env::var(key).ok()?.parse::<u64>().ok();
    match (
        number("NETPATH_KILL_ROUNDS"),
        number("NETPATH_KILL_SECONDS"),
    ) {
        (Some(rounds), _) => (rounds, Duration::MAX),
        (None, seconds) => (100, Duration::from_secs(seconds.unwrap_or(20))),
    }
}

/// Pseudo-random numbers of a seed that can be given again (`NETPATH_KILL_SEED`).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let given = std::env::var("NETPATH_KILL_SEED").ok();
        let given = given.and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) * 7919 + 1);
        println!("NETPATH_KILL_SEED={seed}");
        Self(seed)
    }

    /// A number below `limit`.
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) % limit
    }
}

/// A command on a few objects, so that commands meet the results of earlier ones. It may be refused.
fn random_command(random: &mut Random, adopted: &str) -> String {
    let number = random.below(4);
    let network = ["bridge", "n0", "n1"][random.below(3) as usize];
    match random.below(12) {
        0..=2 => format!(
            "sandbox create s{number} --network {network} -p {}:80",
            8000 + number
        ),
        3 => format!("sandbox create adopted --network {network} --netns {adopted}"),
        4 => format!("sandbox rm s{number}"),
        5 => "sandbox rm adopted".to_owned(),
        6 => format!(
            "port publish s{number} {}:81 --allow 192.0.2.0/24",
            8100 + number
        ),
        7 => format!("port unpublish s{number} {}:81", 8100 + number),
        8 => format!("network connect {network} s{number}"),
        9 => format!("network disconnect {network} s{number}"),
        10 => format!("network create n{}", number % 2),
        _ => format!("network rm n{}", number % 2),
    }
}

#[test]
fn class6_random_kills_leave_a_consistent_node() {
    let mut random = Random::new();
    let adopted = netpath_tests::Netns::new("adopted");
    let path = adopted.path().display().to_string();
    let links = adopted.exec("ip -o link show");
    let mut fixture = Fixture::with_fast_reconcile();
    fixture.echo_sandbox("stays", "-p 7999:80");
    let mut line = fixture.connect_from_outside(7999).expect("connection");
    let (rounds, limit) = rounds();
    let start = Instant::now();
    let mut kills = 0;
    while kills < rounds && start.elapsed() < limit {
        kills += 1;
        // Commands before the one in which the daemon is killed.
        for _ in 0..random.below(3) {
            let command = random_command(&mut random, &path);
            println!("{command}");
            fixture.cli(&command);
        }
        let command = random_command(&mut random, &path);
        let running = fixture.daemon.spawn(&fixture::words(&command));
        // From before the request arrives to after its reply.
        thread::sleep(Duration::from_micros(random.below(60_000)));
        fixture.daemon.kill9();
        drop(running);
        line.exchange_line();
        fixture.daemon.restart();
        println!("kill {kills}: {command}");
        assert_consistent(&fixture);
        let status = fixture.status();
        assert_eq!(status["ready"], true, "{status}");
        assert_eq!(status["degraded"], serde_json::json!([]), "{status}");
        line.exchange_line();
    }
    println!("{kills} kills in {:?}", start.elapsed());
    fixture.assert_published(7999, "stays");
    for name in fixture.sandboxes() {
        fixture.cli_ok(&format!("sandbox rm {name}"));
    }
    for network in ["n0", "n1"] {
        fixture.cli(&format!("network rm {network}"));
    }
    assert_consistent(&fixture);
    assert_eq!(fixture.devices().len(), 1, "{:?}", fixture.devices());
    for map in ["endpoints", "ports", "nat"] {
        fixture.wait_for(map, || {
            fixture.json(&format!("map dump {map}")) == serde_json::json!([])
        });
    }
    assert_eq!(adopted.exec("ip -o link show"), links);
    // Dropping the fixture tears the node down and checks that nothing is left.
}
