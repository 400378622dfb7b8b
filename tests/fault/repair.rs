//! Somebody damages what netpath has made: it is repaired and reported within seconds.

use std::{fs, path::Path};

use netpath_tests::{Netns, Process};
use serde_json::Value;

use crate::world::{HOST, World, eventually};

const SECONDS: u64 = 10;

struct Bed {
    world: World,
    events: Process,
}

impl Bed {
    fn new() -> Self {
        let world = World::new();
        world.server("web", "-p 8080:80");
        world.ok("sandbox create client");
        world.assert_published(8080, "web");
        let events = world.events();
        Self { world, events }
    }

    fn host(&self) -> &Netns {
        &self.world.topology.host
    }

    fn bridge(&self) -> String {
        let devices = self.world.devices().into_iter();
        let mut bridges = devices.filter(|name| name.starts_with("npb-"));
        bridges.next().expect("bridge")
    }

    fn pin(&self, name: &str) -> String {
        let path = self.world.daemon.bpf_dir().join("links").join(name);
        path.display().to_string()
    }

    fn map(&self, name: &str) -> String {
        let directories = fs::read_dir(self.world.daemon.bpf_dir()).expect("pins");
        let maps = directories.flatten().map(|entry| entry.path());
        let maps = maps.filter(|path| path.display().to_string().contains("/maps-v"));
        let found = maps.map(|path| path.join(name)).find(|path| path.exists());
        found.expect("map").display().to_string()
    }

    /// All of it works, and nothing is left to repair.
    fn is_whole(&self) -> bool {
        let world = &self.world;
        let published = world
            .dial_from_outside(8080)
            .is_ok_and(|line| line.greeting == "web");
        let local = world.greeting_on_host("127.0.0.1", 8080).as_deref() == Ok("web");
        let sibling = world.dial_from_sandbox("client", &format!("{HOST}:8080"));
        let status = world.daemon.cli(&["status", "--output", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        published
            && local
            && sibling.is_ok()
            && status["ready"] == true
            && status["degraded"] == serde_json::json!([])
            && status["last_reconcile"]["operations"] == 0
    }

    /// What is damaged is repaired and reported in these words.
    #[track_caller]
    fn assert_repaired(&self, words: &str) {
        eventually(&format!("an event '{words}'"), SECONDS, || {
            let text = self.events.output();
            text.lines()
                .any(|line| line.contains("repaired") && line.contains(words))
        });
        eventually("everything works", SECONDS, || self.is_whole());
    }

    /// A device of the host is taken down: it comes up again, and everything works.
    #[track_caller]
    fn assert_comes_up_again(&self, device: &str) {
        self.host().exec(&format!("ip link set {device} down"));
        eventually("it is up", SECONDS, || {
            self.host()
                .exec(&format!("ip link show {device}"))
                .contains(",UP")
        });
        eventually("everything works", SECONDS, || self.is_whole());
    }

    /// Pins of links, with the words of the event that their repair gives.
    fn links(&self) -> [(String, &'static str); 5] {
        let veth = self.world.host_interface("web");
        [
            (format!("{veth}-endpoint_in"), "attach endpoint-ingress"),
            (format!("{veth}-endpoint_out"), "attach endpoint-egress"),
            ("eth0-uplink_ingress".to_owned(), "attach uplink-ingress"),
            ("eth0-uplink_egress".to_owned(), "attach uplink-egress"),
            ("cgroup-connect4".to_owned(), "attach connect4"),
        ]
    }
}

/// Every key of a pinned map, as `bpftool` wants it.
fn keys(host: &Netns, map: &str) -> Vec<String> {
    let shown = host.run(&["bpftool", "-j", "map", "dump", "pinned", map]);
    let entries: Value = serde_json::from_str(&shown.success()).expect("JSON of bpftool");
    let entries = entries.as_array().expect("entries").iter();
    entries
        .map(|entry| {
            let octets = entry["key"].as_array().expect("key").iter();
            let octets = octets.map(|octet| octet.as_str().expect("octet"));
            octets.collect::<Vec<_>>().join(" ")
        })
        .collect()
}

#[test]
fn a_deleted_bridge_is_made_again() {
    let bed = Bed::new();
    bed.host().exec(&format!("ip link delete {}", bed.bridge()));
    bed.assert_repaired("set bridge");
}

#[test]
fn a_bridge_without_its_address_or_down_gets_it_back() {
    let bed = Bed::new();
    let bridge = bed.bridge();
    bed.host().exec(&format!("ip addr flush dev {bridge}"));
    bed.assert_repaired("set bridge");
    bed.assert_comes_up_again(&bridge);
}

#[test]
fn a_deleted_veth_pair_is_made_again() {
    let bed = Bed::new();
    let veth = bed.world.host_interface("web");
    bed.host().exec(&format!("ip link delete {veth}"));
    bed.assert_repaired("create veth");
}

#[test]
fn a_veth_that_was_deleted_inside_is_made_again() {
    let bed = Bed::new();
    bed.world.ok("sandbox exec web -- ip link delete eth0");
    bed.assert_repaired("create veth");
}

#[test]
fn a_veth_off_its_bridge_or_down_is_put_back() {
    let bed = Bed::new();
    let veth = bed.world.host_interface("web");
    bed.host().exec(&format!("ip link set {veth} nomaster"));
    bed.assert_repaired("set veth");
    bed.assert_comes_up_again(&veth);
}

#[test]
fn a_removed_pin_of_a_link_is_attached_again() {
    let bed = Bed::new();
    let more = ("cgroup-recvmsg6".to_owned(), "attach recvmsg6");
    for (pin, words) in bed.links().into_iter().chain([more]) {
        fs::remove_file(bed.pin(&pin)).expect("remove");
        bed.assert_repaired(words);
        assert!(Path::new(&bed.pin(&pin)).exists(), "{pin}");
    }
}

#[test]
fn a_link_that_was_detached_by_force_is_attached_again() {
    let bed = Bed::new();
    for (pin, words) in bed.links() {
        let detached = bed
            .host()
            .run(&["bpftool", "link", "detach", "pinned", &bed.pin(&pin)]);
        detached.success();
        bed.assert_repaired(words);
    }
}

#[test]
fn deleted_map_entries_are_written_again() {
    let bed = Bed::new();
    bed.world
        .ok("port publish client 8081:81 --allow 192.0.2.0/24");
    for (map, words) in [
        ("ports", "publish"),
        ("addresses", "address"),
        ("devices", "add uplink"),
        ("networks", "add network"),
        ("subnets", "add subnet"),
        ("allow", "allow"),
    ] {
        let pinned = bed.map(map);
        let keys = keys(bed.host(), &pinned);
        assert!(!keys.is_empty(), "{map} has entries");
        for key in &keys {
            bed.host()
                .exec(&format!("bpftool map delete pinned {pinned} key {key}"));
        }
        bed.assert_repaired(words);
        assert_eq!(self::keys(bed.host(), &pinned).len(), keys.len(), "{map}");
    }
}

#[test]
fn an_emptied_endpoint_slot_is_filled_again() {
    let bed = Bed::new();
    let pinned = bed.map("endpoints");
    let shown = bed
        .host()
        .exec(&format!("bpftool -j map show pinned {pinned}"));
    let shown: Value = serde_json::from_str(&shown).expect("JSON of bpftool");
    let size = shown["bytes_value"].as_u64().expect("size");
    let zeros = vec!["0"; usize::try_from(size).expect("size")].join(" ");
    bed.host().exec(&format!(
        "bpftool map update pinned {pinned} key 1 0 0 0 value {zeros}"
    ));
    bed.assert_repaired("fill endpoint slot 1");
}

#[test]
fn foreign_map_entries_are_removed() {
    let bed = Bed::new();
    let pinned = bed.map("networks");
    let shown = bed
        .host()
        .exec(&format!("bpftool -j map dump pinned {pinned}"));
    let shown: Value = serde_json::from_str(&shown).expect("JSON of bpftool");
    let value = shown[0]["value"].as_array().expect("value").iter();
    let value: Vec<_> = value.map(|octet| octet.as_str().expect("octet")).collect();
    bed.host().exec(&format!(
        "bpftool map update pinned {pinned} key 77 0 0 0 value {}",
        value.join(" ")
    ));
    bed.assert_repaired("remove network 77 from the maps");
}

#[test]
fn a_removed_pin_of_a_map_is_made_again_and_its_flows_stay() {
    let mut bed = Bed::new();
    let mut line = bed.world.dial_from_outside(8080).expect("connection");
    for map in ["flows", "ports", "endpoints"] {
        let pinned = bed.map(map);
        fs::remove_file(&pinned).expect("remove");
        bed.assert_repaired(&format!("pin map {map}"));
        assert!(Path::new(&pinned).exists(), "{map}");
    }
    line.talk();
    bed.world.daemon.restart();
    line.talk();
    eventually("everything works", SECONDS, || bed.is_whole());
}

#[test]
fn forwarding_that_was_switched_off_is_switched_on_again() {
    let bed = Bed::new();
    let bridge = bed.bridge();
    bed.host().sysctl("net/ipv4/ip_forward", "0");
    bed.assert_repaired("set bridge");
    let key = format!("/proc/sys/net/ipv4/conf/{bridge}/forwarding");
    let value = bed.host().enter(|| fs::read_to_string(key));
    assert_eq!(value.expect("sysctl").trim(), "1");
}

#[test]
fn flushed_neighbours_and_firewalls_do_no_harm() {
    let bed = Bed::new();
    let mut line = bed.world.dial_from_outside(8080).expect("connection");
    for command in [
        "ip neigh flush all",
        "nft flush ruleset",
        "ip route flush cache",
    ] {
        bed.host().exec(command);
        line.talk();
    }
    eventually("everything works", SECONDS, || bed.is_whole());
}

/// SNAT must not choose a port that is published, on whichever address.
#[test]
fn a_port_stays_reserved_until_its_last_address_is_withdrawn() {
    let bed = Bed::new();
    let pinned = bed.map("snat_taken");
    // 64 ports a word, those of TCP first.
    let word = format!("{} 0 0 0", 5000 / 64);
    let taken = || {
        let shown = bed
            .host()
            .exec(&format!("bpftool -j map lookup pinned {pinned} key {word}"));
        let shown: Value = serde_json::from_str(&shown).expect("JSON of bpftool");
        let octet = shown["value"][usize::from(5000 % 64_u16 / 8)].as_str();
        octet.expect("octet") != "0x00"
    };
    bed.world.ok("port publish web 127.0.0.1:5000:80");
    bed.world.ok(&format!("port publish web {HOST}:5000:80"));
    assert!(taken());
    bed.world.ok("port unpublish web 127.0.0.1:5000:80");
    assert!(taken(), "published on {HOST}");
    bed.world.ok(&format!("port unpublish web {HOST}:5000:80"));
    assert!(!taken());
}
