//! Nanoseconds that a node takes for a packet.
//!
//! ```text
//!   floor     sender ──────────────────────────────────────  sink
//!   netpath   sender ────────────┤ programs │──────────────  sink
//!   iptables  sender ────────────┤ NAT, conntrack, bridge │─  sink
//!   routing   sender ────────────┤ routes │────────────────  sink
//! ```
//!
//! A packet socket sends UDP packets of 64 bytes without a queueing discipline, and the other end drops them in the chain
//! PREROUTING of the table `raw`. One core does all of it. The floor is the time of the same sender and sink without a node
//! between them. Other load only makes a packet slower, so the result is the minimum over the rounds.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use netpath_tests::{Netns, Wire, packet::Packet};
use serde_json::{Map, Value, json};

use crate::{
    load::frames,
    measure::Path,
    setups::{Family, INSIDE, Setup, Setups},
};

/// Bytes of payload.
const SIZE: usize = 64;
/// The first source port.
const FIRST_PORT: u16 = 20_000;
/// Numbers of flows.
const FLOWS: [u16; 2] = [1, 2_000];
/// The device of both hosts of a pair.
const DEVICE: &str = "eth0";
/// Largest part of the packets that may be missing at the sink.
const LOSS: f64 = 0.001;

/// Which rows are measured, and how.
pub struct Selection<'a> {
    /// Number of rounds.
    pub rounds: usize,
    /// Duration of each measurement.
    pub time: Duration,
    /// Only flows opened in this direction.
    pub path: Option<Path>,
    /// Only rows whose label contains this text.
    pub filter: Option<&'a str>,
    /// Only this setup, and the floor.
    pub only: Option<Setup>,
}

/// A row of the results.
pub struct Cost {
    path: Path,
    replies: bool,
    family: Family,
    flows: u16,
    /// Nanoseconds per packet without a node, one value per round.
    floor: Vec<f64>,
    /// Nanoseconds per packet, one value per round, in the order of [`Setup::ALL`].
    setups: [Vec<f64>; 3],
}

impl Cost {
    /// The name of the row.
    pub fn label(&self) -> String {
        let path = match (self.path, self.replies) {
            (Path::Published, false) => "published",
            (Path::Published, true) => "published, replies",
            (Path::Outbound, false) => "outbound",
            (Path::Outbound, true) => "outbound, replies",
        };
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let flows = match self.flows {
            1 => "1 flow".to_owned(),
            flows => format!("{flows} flows"),
        };
        format!("{path}, {family}, {flows}")
    }

    /// Nanoseconds per packet without a node.
    pub fn floor(&self) -> f64 {
        minimum(&self.floor)
    }

    /// Nanoseconds per packet above the floor; `NaN` if the setup was not measured.
    pub fn above_floor(&self, setup: Setup) -> f64 {
        minimum(&self.setups[setup as usize]) - self.floor()
    }

    /// All values, and the numbers of the table.
    pub fn json(&self) -> Value {
        let mut sides = Map::new();
        for setup in Setup::ALL {
            let values = &self.setups[setup as usize];
            sides.insert(
                setup.name().to_owned(),
                json!({ "values": values, "minimum": minimum(values), "above_floor": self.above_floor(setup) }),
            );
        }
        sides.insert(
            "floor".to_owned(),
            json!({ "values": self.floor, "minimum": self.floor() }),
        );
        json!({ "measurement": self.label(), "unit": "ns per packet", "sides": sides })
    }
}

fn minimum(values: &[f64]) -> f64 {
    values.iter().copied().reduce(f64::min).unwrap_or(f64::NAN)
}

/// Measures the selected rows of the family of `setups`.
pub fn measure(setups: &Setups, selection: &Selection<'_>) -> Vec<Cost> {
    let mut costs: Vec<Cost> = rows(setups.family)
        .filter(|cost| {
            selection.path.is_none_or(|path| cost.path == path)
                && selection
                    .filter
                    .is_none_or(|text| cost.label().contains(text))
        })
        .collect();
    let floor = Floor::new(setups.family);
    let _sinks: Vec<Sink> = Setup::ALL
        .iter()
        .map(|setup| setups.hosts(*setup))
        .flat_map(|hosts| [&hosts.topology.outside, &hosts.sandbox])
        .chain([&floor.sender, &floor.sink])
        .map(|netns| Sink::new(netns, setups.family))
        .collect();
    for round in 0..selection.rounds {
        for cost in &mut costs {
            cost.floor.push(sample(&floor.pair(), cost, selection.time));
            for offset in 0..Setup::ALL.len() {
                let setup = Setup::ALL[(round + offset) % Setup::ALL.len()];
                if selection.only.is_none_or(|only| only == setup) {
                    let pair = HostPair::of(setups, setup, cost.path);
                    let value = sample(&pair, cost, selection.time);
                    cost.setups[setup as usize].push(value);
                }
            }
            eprintln!("round {}/{}: {}", round + 1, selection.rounds, cost.label());
        }
    }
    costs
}

fn rows(family: Family) -> impl Iterator<Item = Cost> {
    [Path::Published, Path::Outbound]
        .into_iter()
        .flat_map(|path| [(path, false), (path, true)])
        .flat_map(move |(path, replies)| {
            FLOWS.map(|flows| Cost {
                path,
                replies,
                family,
                flows,
                floor: Vec::new(),
                setups: Default::default(),
            })
        })
}

/// Takes one value. Fails unless every packet arrives.
fn sample(pair: &HostPair<'_>, cost: &Cost, time: Duration) -> f64 {
    let (frames, replies) = open_flows(pair, cost.flows);
    let (from, to, frames) = if cost.replies {
        (pair.far, pair.near, replies)
    } else {
        (pair.near, pair.far, frames)
    };
    let before = dropped(to, cost.family);
    let sent = frames::run(from, DEVICE, &frames, time);
    let arrived = dropped(to, cost.family) - before;
    assert!(
        arrived as f64 >= sent.frames as f64 * (1.0 - LOSS),
        "{}: {arrived} of {} packets arrive at {}",
        cost.label(),
        sent.frames,
        to.name()
    );
    sent.nanoseconds
}

/// Opens the flows with one packet in each direction. Returns the frames of both directions, as they are sent.
fn open_flows(pair: &HostPair<'_>, flows: u16) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (near, far) = (Wire::open(pair.near, DEVICE), Wire::open(pair.far, DEVICE));
    let router = pair.resolve();
    let mut frames = Vec::new();
    let mut replies = Vec::new();
    for number in 0..flows {
        let mut payload = [0; SIZE];
        payload[..2].copy_from_slice(&number.to_be_bytes());
        let frame = Packet::ip(pair.source, pair.target.ip())
            .eth(near.mac, router)
            .udp(FIRST_PORT + number, pair.target.port())
            .payload(&payload)
            .build();
        near.send(&frame);
        let reply = reversed(wait_for(&far, &payload));
        far.send(&reply);
        wait_for(&near, &payload);
        frames.push(frame);
        replies.push(reply);
    }
    (frames, replies)
}

fn wait_for(wire: &Wire, payload: &[u8]) -> Vec<u8> {
    wire.wait(Duration::from_secs(4), |frame| frame.ends_with(payload))
        .expect("the packet arrives")
}

/// The reply to a frame with a UDP packet. Its checksums are the same, because only the order of the summands differs.
fn reversed(mut frame: Vec<u8>) -> Vec<u8> {
    let (source, size, ports) = match frame[12..14] {
        [0x08, 0x00] => (26, 4, 34),
        _ => (22, 16, 54),
    };
    for (start, length) in [(0, 6), (source, size), (ports, 2)] {
        frame[start..start + 2 * length].rotate_left(length);
    }
    frame
}

/// The hosts at the two ends of a measurement.
struct HostPair<'a> {
    /// The host that opens the flows.
    near: &'a Netns,
    /// The host that they lead to.
    far: &'a Netns,
    source: IpAddr,
    target: SocketAddr,
}

impl<'a> HostPair<'a> {
    fn of(setups: &'a Setups, setup: Setup, path: Path) -> Self {
        let hosts = setups.hosts(setup);
        let outside = setups.outside(0);
        match path {
            Path::Published => Self {
                near: &hosts.topology.outside,
                far: &hosts.sandbox,
                source: outside,
                target: hosts.published,
            },
            Path::Outbound => Self {
                near: &hosts.sandbox,
                far: &hosts.topology.outside,
                source: hosts.inside,
                target: SocketAddr::new(outside, INSIDE),
            },
        }
    }

    /// The MAC address of the next hop to the target.
    fn resolve(&self) -> [u8; 6] {
        self.near.enter(|| {
            let socket = UdpSocket::bind((self.source, 0)).expect("bind");
            socket.send_to(&[0], self.target).expect("send");
        });
        let target = self.target.ip();
        let route = self.near.exec(&format!("ip -o route get {target}"));
        let next_hop = word_after(&route, "via").unwrap_or_else(|| target.to_string());
        let show = format!("ip neigh show {next_hop} dev {DEVICE}");
        let mut neighbour = String::new();
        for _ in 0..100 {
            neighbour = self.near.exec(&show);
            if let Some(mac) = word_after(&neighbour, "lladdr") {
                let octets = mac
                    .split(':')
                    .map(|octet| u8::from_str_radix(octet, 16).expect("a MAC address"));
                return octets
                    .collect::<Vec<u8>>()
                    .try_into()
                    .expect("a MAC address");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("the next hop {next_hop} is not resolved: {neighbour}");
    }
}

fn word_after(text: &str, word: &str) -> Option<String> {
    let mut words = text.split_ascii_whitespace();
    words.find(|other| *other == word)?;
    words.next().map(str::to_owned)
}

/// A sender and a sink without a node between them.
struct Floor {
    sender: Netns,
    sink: Netns,
    addresses: [IpAddr; 2],
}

impl Floor {
    fn new(family: Family) -> Self {
        let (sender, sink) = (Netns::new("sender"), Netns::new("sink"));
        let path = sink.path().display().to_string();
        sender.exec(&format!(
            "ip link add name {DEVICE} mtu 1500 type veth peer name {DEVICE} mtu 1500 netns {path}"
        ));
        let (addresses, length) = match family {
            Family::V4 => (["198.18.0.1", "198.18.0.2"], 24),
            Family::V6 => (["2001:db8:18::1", "2001:db8:18::2"], 64),
        };
        let addresses = addresses.map(|address| address.parse().expect("an address"));
        for (netns, address) in [&sender, &sink].into_iter().zip(addresses) {
            netns.exec(&format!("ip link set {DEVICE} up"));
            let flags = if family == Family::V6 { " nodad" } else { "" };
            netns.exec(&format!(
                "ip addr add {address}/{length} dev {DEVICE}{flags}"
            ));
        }
        Self {
            sender,
            sink,
            addresses,
        }
    }

    fn pair(&self) -> HostPair<'_> {
        HostPair {
            near: &self.sender,
            far: &self.sink,
            source: self.addresses[0],
            target: SocketAddr::new(self.addresses[1], INSIDE),
        }
    }
}

/// The rule that drops UDP in a namespace; dropping the guard removes it.
struct Sink<'a> {
    netns: &'a Netns,
    family: Family,
}

impl<'a> Sink<'a> {
    fn new(netns: &'a Netns, family: Family) -> Self {
        netns.exec(&format!("{} --wait -t raw -A {RULE}", program(family)));
        Self { netns, family }
    }
}

impl Drop for Sink<'_> {
    fn drop(&mut self) {
        let command = format!("{} --wait -t raw -D {RULE}", program(self.family));
        let words: Vec<&str> = command.split_ascii_whitespace().collect();
        // A rule that cannot be removed disappears with its namespace.
        let _ = self.netns.run(&words);
    }
}

const RULE: &str = "PREROUTING -p udp -j DROP";

fn program(family: Family) -> &'static str {
    match family {
        Family::V4 => "iptables",
        Family::V6 => "ip6tables",
    }
}

/// Number of packets that the sink of a namespace has dropped.
fn dropped(netns: &Netns, family: Family) -> u64 {
    let list = netns.exec(&format!(
        "{} --wait -t raw -L PREROUTING -n -v -x",
        program(family)
    ));
    let rule = list.lines().find(|line| line.contains("DROP"));
    let packets = rule.and_then(|line| line.split_ascii_whitespace().next());
    packets
        .and_then(|packets| packets.parse().ok())
        .expect("a rule with a counter")
}
