//! Damage to netpath's devices, pins and maps by another process is repaired and reported within seconds.

use std::{fs, path::Path};

use netpath_tests::{
    Netns, Process, eventually,
    fixture::{Fixture, HOST_V4},
};
use serde_json::Value;

const SECONDS: u64 = 30;

struct RepairTest {
    fixture: Fixture,
    events: Process,
}

impl RepairTest {
    fn new() -> Self {
        let fixture = Fixture::with_fast_reconcile();
        fixture.echo_sandbox("web", "-p 8080:80");
        fixture.cli_ok("sandbox create client");
        fixture.assert_published(8080, "web");
        let events = fixture.events();
        Self { fixture, events }
    }

    fn host(&self) -> &Netns {
        &self.fixture.topology.host
    }

    fn bridge(&self) -> String {
        let devices = self.fixture.devices().into_iter();
        let mut bridges = devices.filter(|name| name.starts_with("npb-"));
        bridges.next().expect("bridge")
    }

    fn pin(&self, name: &str) -> String {
        let path = self.fixture.daemon.bpf_dir().join("links").join(name);
        path.display().to_string()
    }

    fn map(&self, name: &str) -> String {
        let directories = fs::read_dir(self.fixture.daemon.bpf_dir()).expect("pins");
        let maps = directories.flatten().map(|entry| entry.path());
        let maps = maps.filter(|path| path.display().to_string().contains("/maps-v"));
        let found = maps.map(|path| path.join(name)).find(|path| path.exists());
        found.expect("map").display().to_string()
    }

    /// Whether everything works and nothing is left to repair.
    fn is_intact(&self) -> bool {
        let fixture = &self.fixture;
        let published = fixture
            .connect_from_outside(8080)
            .is_ok_and(|line| line.server == "web");
        let local = fixture.query_from_host("127.0.0.1", 8080).as_deref() == Ok("web");
        let sibling = fixture.connect_from_sandbox("client", &format!("{HOST_V4}:8080"));
        let status = fixture.daemon.cli(&["status", "--output", "json"]);
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        published
            && local
            && sibling.is_ok()
            && status["ready"] == true
            && status["degraded"] == serde_json::json!([])
            && status["last_reconcile"]["operations"] == 0
    }

    /// Waits until the damage is repaired and reported with these words.
    #[track_caller]
    fn assert_repaired(&self, words: &str) {
        eventually(&format!("an event '{words}'"), SECONDS, || {
            let text = self.events.output();
            text.lines()
                .any(|line| line.contains("repaired") && line.contains(words))
        });
        eventually("everything works", SECONDS, || self.is_intact());
    }

    /// Takes a device of the host down; it must be set up again.
    #[track_caller]
    fn assert_comes_up_again(&self, device: &str) {
        self.host().exec(&format!("ip link set {device} down"));
        eventually("it is up", SECONDS, || {
            self.host()
                .exec(&format!("ip link show {device}"))
                .contains(",UP")
        });
        eventually("everything works", SECONDS, || self.is_intact());
    }

    /// Pins of links, with the words of the event that reports the repair.
    fn links(&self) -> [(String, &'static str); 5] {
        let veth = self.fixture.inspect("web").host_interface;
        [
            (format!("{veth}-endpoint_in"), "attach endpoint-ingress"),
            (format!("{veth}-endpoint_out"), "attach endpoint-egress"),
            ("eth0-uplink_ingress".to_owned(), "attach uplink-ingress"),
            ("eth0-uplink_egress".to_owned(), "attach uplink-egress"),
            ("cgroup-connect4".to_owned(), "attach connect4"),
        ]
    }
}

/// Every key of a pinned map, in the notation of `bpftool`.
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
fn deleted_bridge_is_recreated() {
    let test = RepairTest::new();
    test.host()
        .exec(&format!("ip link delete {}", test.bridge()));
    test.assert_repaired("set bridge");
}

#[test]
fn bridge_without_address_or_down_is_restored() {
    let test = RepairTest::new();
    let bridge = test.bridge();
    test.host().exec(&format!("ip addr flush dev {bridge}"));
    test.assert_repaired("set bridge");
    test.assert_comes_up_again(&bridge);
}

#[test]
fn deleted_veth_pair_is_recreated() {
    let test = RepairTest::new();
    let veth = test.fixture.inspect("web").host_interface;
    test.host().exec(&format!("ip link delete {veth}"));
    test.assert_repaired("create veth");
}

#[test]
fn veth_deleted_in_the_sandbox_is_recreated() {
    let test = RepairTest::new();
    test.fixture
        .cli_ok("sandbox exec web -- ip link delete eth0");
    test.assert_repaired("create veth");
}

#[test]
fn veth_off_its_bridge_or_down_is_restored() {
    let test = RepairTest::new();
    let veth = test.fixture.inspect("web").host_interface;
    test.host().exec(&format!("ip link set {veth} nomaster"));
    test.assert_repaired("set veth");
    test.assert_comes_up_again(&veth);
}

#[test]
fn removed_link_pin_is_reattached() {
    let test = RepairTest::new();
    let more = ("cgroup-recvmsg6".to_owned(), "attach recvmsg6");
    for (pin, words) in test.links().into_iter().chain([more]) {
        fs::remove_file(test.pin(&pin)).expect("remove");
        test.assert_repaired(words);
        assert!(Path::new(&test.pin(&pin)).exists(), "{pin}");
    }
}

#[test]
fn detached_link_is_reattached() {
    let test = RepairTest::new();
    for (pin, words) in test.links() {
        let detached = test
            .host()
            .run(&["bpftool", "link", "detach", "pinned", &test.pin(&pin)]);
        detached.success();
        test.assert_repaired(words);
    }
}

#[test]
fn deleted_map_entries_are_rewritten() {
    let test = RepairTest::new();
    test.fixture
        .cli_ok("port publish client 8081:81 --allow 192.0.2.0/24");
    for (map, words) in [
        ("ports", "publish"),
        ("addresses", "address"),
        ("devices", "add interface"),
        ("networks", "add network"),
        ("subnets", "add subnet"),
        ("allow", "allow"),
    ] {
        let pinned = test.map(map);
        let keys = keys(test.host(), &pinned);
        assert!(!keys.is_empty(), "{map} has entries");
        for key in &keys {
            test.host()
                .exec(&format!("bpftool map delete pinned {pinned} key {key}"));
        }
        test.assert_repaired(words);
        assert_eq!(self::keys(test.host(), &pinned).len(), keys.len(), "{map}");
    }
}

#[test]
fn emptied_endpoint_slot_is_refilled() {
    let test = RepairTest::new();
    let pinned = test.map("endpoints");
    let shown = test
        .host()
        .exec(&format!("bpftool -j map show pinned {pinned}"));
    let shown: Value = serde_json::from_str(&shown).expect("JSON of bpftool");
    let size = shown["bytes_value"].as_u64().expect("size");
    let zeros = vec!["0"; usize::try_from(size).expect("size")].join(" ");
    test.host().exec(&format!(
        "bpftool map update pinned {pinned} key 1 0 0 0 value {zeros}"
    ));
    test.assert_repaired("add endpoint in slot 1");
}

#[test]
fn foreign_map_entries_are_removed() {
    let test = RepairTest::new();
    let pinned = test.map("networks");
    let shown = test
        .host()
        .exec(&format!("bpftool -j map dump pinned {pinned}"));
    let shown: Value = serde_json::from_str(&shown).expect("JSON of bpftool");
    let value = shown[0]["value"].as_array().expect("value").iter();
    let value: Vec<_> = value.map(|octet| octet.as_str().expect("octet")).collect();
    test.host().exec(&format!(
        "bpftool map update pinned {pinned} key 77 0 0 0 value {}",
        value.join(" ")
    ));
    test.assert_repaired("remove network with index 77");
}

#[test]
fn removed_map_pin_is_recreated_and_its_flows_stay() {
    let mut test = RepairTest::new();
    let mut line = test.fixture.connect_from_outside(8080).expect("connection");
    for map in ["flows", "ports", "endpoints"] {
        let pinned = test.map(map);
        fs::remove_file(&pinned).expect("remove");
        test.assert_repaired(&format!("pin map {map}"));
        assert!(Path::new(&pinned).exists(), "{map}");
    }
    line.exchange_line();
    test.fixture.daemon.restart();
    line.exchange_line();
    eventually("everything works", SECONDS, || test.is_intact());
}

#[test]
fn disabled_forwarding_is_enabled_again() {
    let test = RepairTest::new();
    let bridge = test.bridge();
    test.host().sysctl("net/ipv4/ip_forward", "0");
    test.assert_repaired("set bridge");
    let key = format!("/proc/sys/net/ipv4/conf/{bridge}/forwarding");
    let value = test.host().enter(|| fs::read_to_string(key));
    assert_eq!(value.expect("sysctl").trim(), "1");
}

#[test]
fn flushed_neighbours_and_firewall_rules_have_no_effect() {
    let test = RepairTest::new();
    let mut line = test.fixture.connect_from_outside(8080).expect("connection");
    for command in [
        "ip neigh flush all",
        "nft flush ruleset",
        "ip route flush cache",
    ] {
        test.host().exec(command);
        line.exchange_line();
    }
    eventually("everything works", SECONDS, || test.is_intact());
}

/// No socket can be bound to every address with a port that is published on any address.
#[test]
fn port_stays_reserved_until_its_last_address_is_unpublished() {
    let test = RepairTest::new();
    let pinned = test.map("reserved_ports");
    // 64 ports per word, TCP over IPv4 first.
    let word = format!("{} 0 0 0", 5000 / 64);
    let is_reserved = || {
        let shown = test
            .host()
            .exec(&format!("bpftool -j map lookup pinned {pinned} key {word}"));
        let shown: Value = serde_json::from_str(&shown).expect("JSON of bpftool");
        let octet = shown["value"][usize::from(5000 % 64_u16 / 8)].as_str();
        octet.expect("octet") != "0x00"
    };
    test.fixture.cli_ok("port publish web 127.0.0.1:5000:80");
    test.fixture
        .cli_ok(&format!("port publish web {HOST_V4}:5000:80"));
    assert!(is_reserved());
    test.fixture.cli_ok("port unpublish web 127.0.0.1:5000:80");
    assert!(is_reserved(), "published on {HOST_V4}");
    test.fixture
        .cli_ok(&format!("port unpublish web {HOST_V4}:5000:80"));
    assert!(!is_reserved());
}
