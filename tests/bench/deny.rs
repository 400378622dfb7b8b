//! Nanoseconds to drop a packet of a denied host.
//!
//! ```text
//!   native    sender ──── │ XDP in the driver
//!   generic   sender ──── │ XDP of the stack
//!   tc        sender ──── │ TC ingress
//!   netdev    sender ──── │ nftables, hook ingress
//!   raw       sender ──── │ nftables, hook prerouting before connection tracking
//! ```
//!
//! A packet socket sends UDP packets of 64 bytes to a published port, from ever other denied addresses. One core does all of
//! it, so the time of a packet includes the sender's part, which is the same for all methods. The sets of nftables contain
//! intervals, because a deny list contains prefixes.

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};

use netpath_tests::{
    Daemon, Netns,
    fixture::{HOST, Topology},
    mac_of, netpath_binary,
    packet::Packet,
};
use serde_json::{Value, json};

use crate::{
    load::frames,
    setups::{Family, PUBLISHED},
    stats::Spread,
};

/// Bytes of payload.
const SIZE: usize = 64;
/// Number of denied senders, all in one prefix.
const SENDERS: u16 = 2_000;
/// The prefix of the senders.
const DENIED: [&str; 2] = ["198.18.0.0/16", "2001:db8:18::/48"];
/// Numbers of denied prefixes of each family.
const PREFIXES: [u16; 2] = [1, 10_000];
/// The device of host and sender.
const DEVICE: &str = "eth0";
/// Largest part of the packets that may be lost before they are dropped.
const LOSS: f64 = 0.001;

/// Which rows are measured, and how.
pub struct Selection<'a> {
    /// Number of rounds.
    pub rounds: usize,
    /// Duration of each measurement.
    pub time: Duration,
    /// The families.
    pub families: &'a [Family],
    /// Only rows whose label contains this text.
    pub filter: Option<&'a str>,
}

/// What drops the packets.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Native,
    Generic,
    Tc,
    Netdev,
    Raw,
}

impl Method {
    const ALL: [Self; 5] = [
        Self::Native,
        Self::Generic,
        Self::Tc,
        Self::Netdev,
        Self::Raw,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Native => "netpath, XDP native",
            Self::Generic => "netpath, XDP generic",
            Self::Tc => "netpath, TC",
            Self::Netdev => "nftables, netdev ingress",
            Self::Raw => "nftables, raw prerouting",
        }
    }

    /// The setting `--xdp` of netpath; `None` for nftables.
    fn xdp(self) -> Option<&'static str> {
        match self {
            Self::Native => Some("--xdp=native"),
            Self::Generic => Some("--xdp=generic"),
            Self::Tc => Some("--xdp=off"),
            Self::Netdev | Self::Raw => None,
        }
    }
}

/// A row of the results.
pub struct Cost {
    method: Method,
    family: Family,
    prefixes: u16,
    /// Nanoseconds per dropped packet, one value per round.
    nanoseconds: Vec<f64>,
}

impl Cost {
    /// What is dropped.
    pub fn label(&self) -> String {
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        match self.prefixes {
            1 => format!("{family}, 1 prefix"),
            prefixes => format!("{family}, {prefixes} prefixes"),
        }
    }

    /// What drops it.
    pub fn method(&self) -> &'static str {
        self.method.name()
    }

    /// The smallest value.
    pub fn minimum(&self) -> f64 {
        let values = self.nanoseconds.iter().copied();
        values.reduce(f64::min).unwrap_or(f64::NAN)
    }

    /// Median and quartiles.
    pub fn spread(&self) -> Spread {
        Spread::of(&self.nanoseconds)
    }

    /// All values, and the numbers of the table.
    pub fn json(&self) -> Value {
        json!({
            "packets": self.label(),
            "method": self.method(),
            "unit": "ns per dropped packet",
            "values": self.nanoseconds,
            "minimum": self.minimum(),
            "spread": self.spread(),
        })
    }
}

/// Measures the selected rows.
pub fn measure(selection: &Selection<'_>) -> Vec<Cost> {
    let mut nodes = Method::ALL.map(Node::new);
    let mut costs = Vec::new();
    for prefixes in PREFIXES {
        for family in selection.families {
            let mut rows = Method::ALL.map(|method| Cost {
                method,
                family: *family,
                prefixes,
                nanoseconds: Vec::new(),
            });
            let label = rows[0].label();
            if selection.filter.is_some_and(|text| !label.contains(text)) {
                continue;
            }
            for node in &mut nodes {
                node.deny(prefixes);
            }
            for round in 0..selection.rounds {
                for offset in 0..nodes.len() {
                    let at = (round + offset) % nodes.len();
                    let value = nodes[at].sample(*family, selection.time);
                    rows[at].nanoseconds.push(value);
                }
                eprintln!("round {}/{}: denied {label}", round + 1, selection.rounds);
            }
            costs.extend(rows);
        }
    }
    costs
}

/// A host that drops packets, and their sender.
struct Node {
    method: Method,
    // Before the namespaces, because fields are dropped in this order.
    daemon: Option<Daemon>,
    topology: Topology,
    _sandbox: Netns,
    denied: u16,
}

impl Node {
    fn new(method: Method) -> Self {
        let topology = Topology::new();
        let sandbox = Netns::new("sandbox");
        let daemon = method.xdp().map(|xdp| {
            let daemon = Daemon::builder(&topology.host)
                .binary(&netpath_binary())
                .argument(xdp)
                .start();
            let path = sandbox.path().display().to_string();
            let network = ["network", "create", "bench", "--ipv6"];
            daemon.cli(&network).success();
            let publish = format!("{PUBLISHED}:80/udp");
            let create = "sandbox create server --network bench --netns";
            let mut words: Vec<&str> = create.split(' ').collect();
            words.extend([path.as_str(), "-p", &publish]);
            daemon.cli(&words).success();
            daemon
        });
        Self {
            method,
            daemon,
            topology,
            _sandbox: sandbox,
            denied: 0,
        }
    }

    /// Adds prefixes of both families until `count` of each are denied. The senders' prefix is the first one.
    fn deny(&mut self, count: u16) {
        if self.denied >= count {
            return;
        }
        let lists = [false, true].map(|v6| {
            let prefixes = (self.denied..count).map(|number| prefix(v6, number));
            prefixes.collect::<Vec<_>>()
        });
        match &self.daemon {
            Some(daemon) => {
                for list in &lists {
                    let mut words = vec!["deny", "add"];
                    words.extend(list.iter().map(String::as_str));
                    daemon.cli(&words).success();
                }
            }
            None => self.deny_by_nftables(&lists),
        }
        self.denied = count;
    }

    fn deny_by_nftables(&self, [v4, v6]: &[Vec<String>; 2]) {
        let table = self.table();
        let mut rules = String::new();
        if self.denied == 0 {
            let hook = match self.method {
                Method::Netdev => format!("ingress device {DEVICE} priority 0"),
                _ => "prerouting priority raw".to_owned(),
            };
            writeln!(
                rules,
                "table {table} {{
                    counter denied {{ }}
                    set v4 {{ type ipv4_addr; flags interval; }}
                    set v6 {{ type ipv6_addr; flags interval; }}
                    chain denied {{
                        type filter hook {hook};
                        ip saddr @v4 counter name denied drop
                        ip6 saddr @v6 counter name denied drop
                    }}
                }}"
            )
            .expect("rules");
        }
        for (set, prefixes) in [("v4", v4), ("v6", v6)] {
            let elements = prefixes.join(", ");
            writeln!(rules, "add element {table} {set} {{ {elements} }}").expect("rules");
        }
        let directory = tempfile::TempDir::with_prefix("npt-deny-").expect("directory");
        let file = directory.path().join("rules");
        std::fs::write(&file, rules).expect("rules");
        let host = &self.topology.host;
        host.exec(&format!("nft -f {}", file.display()));
    }

    fn table(&self) -> &'static str {
        match self.method {
            Method::Netdev => "netdev bench",
            _ => "inet bench",
        }
    }

    /// Number of packets that were dropped because their sender is denied.
    fn dropped(&self) -> u64 {
        let Some(daemon) = &self.daemon else {
            let counter = format!("nft list counter {} denied", self.table());
            let text = self.topology.host.exec(&counter);
            let mut words = text.split_ascii_whitespace();
            words.find(|word| *word == "packets").expect("a counter");
            let packets = words.next().and_then(|packets| packets.parse().ok());
            return packets.expect("a number");
        };
        let counters = daemon.json(&["map", "dump", "counters"]);
        let mut rows = counters.as_array().into_iter().flatten();
        let row = rows.find(|row| row["name"] == "drop_denied");
        row.and_then(|row| row["packets"].as_u64()).unwrap_or(0)
    }

    /// Takes one value. Fails unless every packet is dropped for its sender.
    fn sample(&self, family: Family, time: Duration) -> f64 {
        let frames = self.frames(family);
        let before = self.dropped();
        let sent = frames::run(&self.topology.outside, DEVICE, &frames, time);
        let dropped = self.dropped() - before;
        assert!(
            dropped as f64 >= sent.frames as f64 * (1.0 - LOSS),
            "{}: {dropped} of {} packets are dropped as denied",
            self.method.name(),
            sent.frames
        );
        sent.nanoseconds
    }

    fn frames(&self, family: Family) -> Vec<Vec<u8>> {
        let (from, to) = (
            mac_of(&self.topology.outside, DEVICE),
            mac_of(&self.topology.host, DEVICE),
        );
        let host = match family {
            Family::V4 => HOST.0,
            Family::V6 => HOST.1,
        };
        let host: IpAddr = host.parse().expect("an address");
        let frame = |number: u16| {
            let [high, low] = number.to_be_bytes();
            let source: IpAddr = match family {
                Family::V4 => Ipv4Addr::new(198, 18, high, low).into(),
                Family::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0x18, 0, 0, 0, 0, number).into(),
            };
            Packet::ip(source, host)
                .eth(from, to)
                .udp(20_000, PUBLISHED)
                .payload(&[0; SIZE])
                .build()
        };
        (0..SENDERS).map(frame).collect()
    }
}

/// A prefix of a deny list; the senders' prefix is number 0.
fn prefix(v6: bool, number: u16) -> String {
    let [high, low] = number.to_be_bytes();
    match (number, v6) {
        (0, v6) => DENIED[usize::from(v6)].to_owned(),
        // Every other address and prefix, so that the kernel cannot merge neighbours.
        (_, false) => format!("100.{high}.{low}.0/25"),
        (_, true) => format!("2001:db8:1{high:03x}:{low:x}::/64"),
    }
}
