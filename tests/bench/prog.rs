//! Nanoseconds per packet, by BPF_PROG_TEST_RUN of the programs and maps that the daemon uses.
//!
//! A test run repeats a program on one packet, so that the second run processes the translated packet. Therefore each
//! measured flow gets a second flow that translates back: every second run undoes the previous one, at the same cost.
//! Programs that decrement the TTL are repeated only as often as the TTL allows.

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
};

use aya::{
    TestRunOptions,
    maps::{HashMap, Map, MapData},
    programs::{
        SchedClassifier, TestRun,
        links::{FdLink, PinnedLink},
        loaded_programs,
    },
};
use netpath_common::{
    addr::{Addr, Be16},
    flow::{FlowEntry, FlowKey, UDP},
    maps::SCHEMA_VERSION,
};
use netpath_tests::packet::Packet;

use crate::{
    load::{Ends, udp},
    setups::{INSIDE, PUBLISHED, SERVER, SIBLING, Setup, Setups},
};
use nix::net::if_::if_nametoindex;

/// The cost of a packet in a program.
pub struct Cost {
    /// The program.
    pub program: &'static str,
    /// The kind of packet.
    pub packet: &'static str,
    /// One value per round.
    pub nanoseconds: Vec<f64>,
}

/// Repetitions on a packet whose TTL decreases.
const UNTIL_EXPIRED: u32 = 250;
/// Total repetitions for one value.
const RUNS: u32 = 1_000_000;

const REDIRECT: u32 = 7;
const NEXT: u32 = u32::MAX;

/// A row of the results.
struct Case {
    program: &'static str,
    packet: &'static str,
    device: String,
    /// The device the packet was received on.
    from: Option<String>,
    bytes: Vec<u8>,
    /// Repetitions before the packet must be replaced.
    repeat: u32,
    verdict: u32,
}

/// Measures all rows. Stops the daemon: a sweep would remove the flows that translate back, which belong to no published
/// port.
pub fn measure(setups: &mut Setups, rounds: usize) -> Vec<Cost> {
    let server = Endpoint::of(setups, SERVER);
    let sibling = Endpoint::of(setups, SIBLING);
    let mut flows = Flows::open(setups);
    let cases = cases(setups, &mut flows, &server, &sibling);
    setups.daemon.stop();
    let mut costs: Vec<Cost> = cases
        .iter()
        .map(|case| Cost {
            program: case.program,
            packet: case.packet,
            nanoseconds: Vec::new(),
        })
        .collect();
    for round in 0..rounds {
        eprintln!("round {}/{rounds}: programs", round + 1);
        for (case, cost) in cases.iter().zip(&mut costs) {
            cost.nanoseconds.push(run(setups, case));
        }
    }
    flows.restore();
    costs
}

fn run(setups: &Setups, case: &Case) -> f64 {
    let links = setups.daemon.bpf_dir().join("links");
    let program = program(&links.join(format!("{}-{}", case.device, case.program)));
    setups.hosts(Setup::Netpath).topology.host.enter(|| {
        let index = if_nametoindex(case.device.as_str()).expect("the device");
        let from = case
            .from
            .as_deref()
            .map(|device| if_nametoindex(device).expect("the device"));
        let context = context(from.unwrap_or(0), index);
        let calls = RUNS / case.repeat;
        let mut total = 0.0;
        for _ in 0..calls {
            let result = program
                .test_run(TestRunOptions {
                    data_in: Some(&case.bytes),
                    ctx_in: Some(&context),
                    repeat: case.repeat,
                    ..TestRunOptions::default()
                })
                .expect("the test run");
            assert_eq!(
                result.return_value, case.verdict,
                "verdict of {} on {}",
                case.program, case.packet
            );
            total += result.duration.as_nanos() as f64;
        }
        total / f64::from(calls)
    })
}

/// A `struct __sk_buff` up to its member `ifindex`.
fn context(from: u32, index: u32) -> [u8; 44] {
    let mut context = [0; 44];
    context[36..40].copy_from_slice(&from.to_ne_bytes());
    context[40..].copy_from_slice(&index.to_ne_bytes());
    context
}

/// The program of a pinned link.
fn program(link: &Path) -> SchedClassifier {
    let link: FdLink = PinnedLink::from_pin(link).expect("the link").into();
    let id = link.info().expect("the link").program_id();
    let info = loaded_programs()
        .filter_map(Result::ok)
        .find(|program| program.id() == id)
        .expect("the program of the link");
    SchedClassifier::from_program_info(info, "bench".into()).expect("a TC program")
}

/// The attachment of a sandbox.
struct Endpoint {
    address: IpAddr,
    mac: [u8; 6],
    /// MAC address of the network's bridge.
    gateway: [u8; 6],
    device: String,
}

impl Endpoint {
    fn of(setups: &Setups, sandbox: &str) -> Self {
        let found = setups.daemon.json(&["sandbox", "inspect", sandbox]);
        let endpoint = &found[0]["endpoints"][0];
        let text = |key: &str| endpoint[key].as_str().expect(key).to_owned();
        let device = text("host_interface");
        let link = |device: &str| -> serde_json::Value {
            let host = &setups.hosts(Setup::Netpath).topology.host;
            let shown = host.exec(&format!("ip -json link show dev {device}"));
            serde_json::from_str(&shown).expect("JSON")
        };
        let bridge = link(link(&device)[0]["master"].as_str().expect("a bridge"));
        Self {
            address: setups.address_of(sandbox),
            mac: octets(&text("mac")),
            gateway: octets(bridge[0]["address"].as_str().expect("an address")),
            device,
        }
    }
}

fn octets(mac: &str) -> [u8; 6] {
    let octets = mac
        .split(':')
        .map(|octet| u8::from_str_radix(octet, 16).expect("an octet"));
    octets
        .collect::<Vec<_>>()
        .try_into()
        .expect("a MAC address")
}

/// The daemon's flow table, and the entries added to it.
struct Flows {
    map: HashMap<MapData, FlowKey, FlowEntry>,
    added: Vec<FlowKey>,
}

impl Flows {
    fn open(setups: &Setups) -> Self {
        let maps = setups
            .daemon
            .bpf_dir()
            .join(format!("maps-v{SCHEMA_VERSION}"));
        assert!(fs::exists(&maps).is_ok_and(|there| there), "no maps");
        let flows = MapData::from_pin(maps.join("flows")).expect("the flows");
        Self {
            map: HashMap::try_from(Map::HashMap(flows)).expect("a hash map"),
            added: Vec::new(),
        }
    }

    /// Adds two entries: packets with the tuple `here` get the tuple `there`, and the reverse. Other fields are those of the
    /// entry `like`.
    fn add_pair(&mut self, like: &FlowKey, here: FlowKey, there: FlowKey) {
        let entry = self.map.get(like, 0).expect("the flow");
        for (from, to) in [(here, there), (there, here)] {
            self.map
                .insert(from, FlowEntry { to, ..entry }, 0)
                .expect("room");
            self.added.push(from);
        }
    }

    /// The source port of a flow's packets after translation.
    fn source_port(&self, key: &FlowKey) -> u16 {
        let entry = self.map.get(key, 0).expect("the flow");
        entry.to.sport.get()
    }

    fn restore(&mut self) {
        for key in self.added.drain(..) {
            // The daemon may have removed the entry already.
            let _ = self.map.remove(&key);
        }
    }
}

fn cases(setups: &Setups, flows: &mut Flows, server: &Endpoint, sibling: &Endpoint) -> Vec<Case> {
    let hosts = setups.hosts(Setup::Netpath);
    let outside = setups.outside(0);
    let remote = SocketAddr::new(outside, INSIDE);
    let server_address = SocketAddr::new(server.address, INSIDE);
    let sibling_address = SocketAddr::new(sibling.address, INSIDE);
    let client = udp::open_flow(&Ends {
        client: &hosts.topology.outside,
        source: outside,
        server: &hosts.sandbox,
        listen: server_address,
        target: hosts.published,
    });
    let sandbox_client = udp::open_flow(&Ends {
        client: &hosts.sandbox,
        source: server.address,
        server: &hosts.topology.outside,
        listen: remote,
        target: remote,
    });
    let host = |port| SocketAddr::new(hosts.published.ip(), port);

    flows.add_pair(
        &key(client, host(PUBLISHED)),
        key(client, host(PUBLISHED)),
        key(client, server_address),
    );
    // A source that is no sandbox would not be translated back, so that the sibling replaces the host.
    flows.add_pair(
        &key(server_address, client),
        key(server_address, client),
        key(SocketAddr::new(sibling.address, PUBLISHED), client),
    );
    // Often not the port that the sandbox chose.
    let mapped = flows.source_port(&key(sandbox_client, remote));
    let reply = key(remote, host(mapped));
    flows.add_pair(&reply, reply, key(remote, sandbox_client));
    flows.add_pair(
        &key(sandbox_client, remote),
        key(sandbox_client, remote),
        key(SocketAddr::new(sibling.address, mapped), remote),
    );

    let other_client = SocketAddr::new(outside, 4000);
    let ingress = |packet, from, to| Case {
        program: "uplink_ingress",
        packet,
        device: "eth0".to_owned(),
        from: None,
        bytes: udp_packet(from, to, [2; 6], [2; 6]),
        repeat: UNTIL_EXPIRED,
        verdict: REDIRECT,
    };
    let egress = |packet, from, to| Case {
        program: "uplink_egress",
        from: Some(server.device.clone()),
        repeat: RUNS,
        verdict: NEXT,
        ..ingress(packet, from, to)
    };
    let endpoint = |packet, to| Case {
        program: "endpoint_in",
        packet,
        device: server.device.clone(),
        from: None,
        bytes: udp_packet(sandbox_client, to, server.mac, server.gateway),
        repeat: UNTIL_EXPIRED,
        verdict: REDIRECT,
    };
    vec![
        ingress("to a published port", client, host(PUBLISHED)),
        ingress("answer to a sandbox", remote, host(mapped)),
        Case {
            repeat: RUNS,
            verdict: NEXT,
            ..ingress("for the host itself", other_client, host(9))
        },
        egress("from a sandbox", sandbox_client, remote),
        egress("answer of a published port", server_address, client),
        Case {
            from: None,
            ..egress("of the host itself", host(9), other_client)
        },
        endpoint("to the outside", remote),
        Case {
            repeat: RUNS,
            ..endpoint("to a sibling", sibling_address)
        },
    ]
}

/// A UDP packet with 64 bytes of payload and the largest TTL, which may not be fragmented.
fn udp_packet(from: SocketAddr, to: SocketAddr, source: [u8; 6], destination: [u8; 6]) -> Vec<u8> {
    Packet::ip(from.ip(), to.ip())
        .eth(source, destination)
        .udp(from.port(), to.port())
        .id(0)
        .ttl(u8::MAX)
        .dont_fragment()
        .payload(&[0; 64])
        .build()
}

/// The key of the flow that such a packet belongs to.
fn key(from: SocketAddr, to: SocketAddr) -> FlowKey {
    FlowKey {
        src: Addr::from(from.ip()),
        dst: Addr::from(to.ip()),
        sport: Be16::new(from.port()),
        dport: Be16::new(to.port()),
        protocol: UDP,
        ..FlowKey::default()
    }
}
