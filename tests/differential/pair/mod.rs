//! Two nodes with the same addresses, ports and neighbours. Netfilter translates on one, netpath on the other.
//!
//! The ends of the links do not reply, and the hosts have static neighbour entries. Every frame that arrives is
//! therefore caused by a frame that a test has sent.

mod nodes;

use std::{net::IpAddr, time::Duration};

use netpath_tests::{
    Daemon, Netns, assert_no_netfilter,
    fixture::Topology,
    packet::{
        Packet,
        fragments::{Assembled, assemble},
    },
};

use crate::wire::{Tap, bind_to_processor};

use nodes::{disable_rate_limits, mac, neighbour, netfilter_node, netpath_node};

/// An end that sends and receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// A sandbox of `network_a`.
    A1,
    /// A second sandbox of `network_a`.
    A2,
    /// A sandbox of `network_b`.
    B1,
    /// All hosts outside, at the other end of the uplink.
    Outside,
}

impl End {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::A1, Self::A2, Self::B1, Self::Outside];

    /// The published port of a sandbox: the host's port and the sandbox's port.
    pub const fn published(self, udp: bool) -> (u16, u16) {
        match (self, udp) {
            (Self::A1, false) => (8080, 80),
            (Self::A1, true) => (8053, 53),
            (Self::A2, false) => (8081, 80),
            (Self::A2, true) => (8054, 53),
            (Self::B1 | Self::Outside, false) => (8082, 8082),
            (Self::B1 | Self::Outside, true) => (8055, 8055),
        }
    }
}

/// The node's addresses on the uplink.
const HOST: [&str; 2] = ["192.0.2.1", "2001:db8:2::1"];
/// The next hop of the default routes.
const ROUTER: [&str; 2] = ["192.0.2.2", "2001:db8:2::2"];
const HOST_MAC: &str = "02:00:00:00:aa:01";
const ROUTER_MAC: &str = "02:00:00:00:aa:02";
/// Name, subnets and gateways of each network.
const NETWORKS: [(&str, [&str; 2], [&str; 2]); 2] = [
    (
        "network_a",
        ["10.88.0.0/24", "fd00:88::/64"],
        ["10.88.0.1", "fd00:88::1"],
    ),
    (
        "network_b",
        ["10.89.0.0/24", "fd00:89::/64"],
        ["10.89.0.1", "fd00:89::1"],
    ),
];
const SANDBOXES: [(&str, End, usize); 3] = [
    ("one", End::A1, 0),
    ("two", End::A2, 0),
    ("three", End::B1, 1),
];
/// Smaller than the MTU of sandboxes, so that packets can be too large.
const UPLINK_MTU: u16 = 1_490;
const SANDBOX_MTU: &str = "1500";
/// The remote address of barrier packets, which no other packet has.
const BARRIER: &str = "198.18.0.1";
const BARRIER_PORTS: (u16, u16) = (20_009, 9);

/// Addresses of a sandbox on its link.
#[derive(Clone, Debug)]
struct Member {
    addresses: [IpAddr; 2],
    mac: [u8; 6],
    gateway_mac: [u8; 6],
}

/// The addresses that both nodes have.
#[derive(Clone, Debug)]
pub struct Map {
    members: Vec<Member>,
}

impl Map {
    /// Example addresses, for tests without nodes.
    pub fn example() -> Self {
        let member = |v4: &str, v6: &str| Member {
            addresses: [v4, v6].map(|text| text.parse().expect("an address")),
            mac: [2; 6],
            gateway_mac: [4; 6],
        };
        Self {
            members: vec![
                member("10.88.0.2", "fd00:88::2"),
                member("10.88.0.3", "fd00:88::3"),
                member("10.89.0.2", "fd00:89::2"),
            ],
        }
    }

    /// A sandbox's own address.
    pub fn sandbox(&self, end: End, v6: bool) -> IpAddr {
        self.members[end as usize].addresses[usize::from(v6)]
    }

    /// The node's address on the uplink.
    pub fn host(v6: bool) -> IpAddr {
        HOST[usize::from(v6)].parse().expect("an address")
    }

    /// The gateway of a sandbox.
    pub fn gateway(end: End, v6: bool) -> IpAddr {
        let (_, _, gateways) = NETWORKS[usize::from(end == End::B1)];
        gateways[usize::from(v6)].parse().expect("an address")
    }

    /// Source and destination MAC address of a frame from an end to an address.
    pub fn macs(&self, from: End, to: IpAddr) -> ([u8; 6], [u8; 6]) {
        if from == End::Outside {
            return (mac(ROUTER_MAC), mac(HOST_MAC));
        }
        let member = &self.members[from as usize];
        let sibling = SANDBOXES.iter().find(|(_, end, network)| {
            *network == SANDBOXES[from as usize].2
                && self.members[*end as usize].addresses.contains(&to)
        });
        let to = sibling.map_or(member.gateway_mac, |(_, end, _)| {
            self.members[*end as usize].mac
        });
        (member.mac, to)
    }
}

/// One of the two nodes.
pub struct TestNode {
    /// The name in reports.
    pub name: &'static str,
    taps: Vec<Tap>,
    barriers: u64,
    barrier: [Packet; 2],
}

impl TestNode {
    fn new(name: &'static str, namespaces: [&Netns; 4], map: &Map) -> Self {
        let taps = namespaces.map(|netns| Tap::open(netns, "eth0")).into();
        let (inside, outside) = BARRIER_PORTS;
        let remote = BARRIER.parse().expect("an address");
        let packet = |from, source: IpAddr, destination, [sport, dport]: [u16; 2]| {
            let (src, dst) = map.macs(from, destination);
            Packet::ip(source, destination)
                .eth(src, dst)
                .udp(sport, dport)
        };
        let one = map.sandbox(End::A1, false);
        Self {
            name,
            taps,
            barriers: 0,
            barrier: [
                packet(End::A1, one, remote, [inside, outside]),
                packet(End::Outside, remote, Map::host(false), [outside, inside]),
            ],
        }
    }

    /// Sends frames from one end. Returns all packets that arrive because of them, in order of arrival at each end,
    /// reassembled if they are complete.
    pub fn exchange(&mut self, from: End, frames: &[Vec<u8>]) -> Vec<(End, Assembled)> {
        for frame in frames {
            self.taps[from as usize].send(frame);
        }
        let mut arrived = Vec::new();
        self.barrier(0, End::A1, End::Outside, &mut arrived);
        self.barrier(1, End::Outside, End::A1, &mut arrived);
        for end in End::ALL {
            while let Some(frame) = self.taps[end as usize].receive() {
                arrived.push((end, frame));
            }
        }
        let mut assembled = Vec::new();
        for end in End::ALL {
            let here = arrived
                .iter()
                .filter(|(found, frame)| *found == end && !is_discovery(frame));
            let frames = here.map(|(_, frame)| frame.clone()).collect();
            assembled.extend(assemble(frames).into_iter().map(|packet| (end, packet)));
        }
        assembled
    }

    fn barrier(&mut self, which: usize, from: End, to: End, arrived: &mut Vec<(End, Vec<u8>)>) {
        self.barriers += 1;
        let number = self.barriers.to_be_bytes();
        let frame = self.barrier[which].clone().payload(&number).build();
        self.taps[from as usize].send(&frame);
        loop {
            match self.taps[to as usize].receive() {
                Some(frame) if frame.ends_with(&number) && is_barrier(&frame) => return,
                Some(frame) => arrived.push((to, frame)),
                None => assert!(
                    self.taps[to as usize].wait(Duration::from_secs(5)),
                    "{}: a barrier from {from:?} to {to:?} is lost",
                    self.name
                ),
            }
        }
    }
}

/// Both nodes and their environment.
pub struct NodePair {
    /// The node on which netfilter translates.
    pub netfilter: TestNode,
    /// The node under test.
    pub netpath: TestNode,
    /// Their addresses.
    pub map: Map,
    sandboxes: Vec<Netns>,
    daemon: Daemon,
    topologies: [Topology; 2],
}

impl NodePair {
    /// Creates both nodes. The calling thread is bound to one processor.
    pub fn new() -> Self {
        // With offloads, packets of the node itself would arrive with a partial checksum.
        let topology = || Topology::builder().without_offloads().build();
        let topologies = [topology(), topology()];
        for topology in &topologies {
            topology
                .host
                .exec(&format!("ip link set eth0 mtu {UPLINK_MTU}"));
        }
        let daemon = Daemon::start(&topologies[1].host);
        let (map, mut sandboxes) = netpath_node(&daemon, &topologies[1].host);
        let others = netfilter_node(&map, &topologies[0].host);
        for topology in &topologies {
            disable_rate_limits(&topology.host);
            topology
                .host
                .exec(&format!("ip link set eth0 address {HOST_MAC}"));
            topology
                .outside
                .exec(&format!("ip link set eth0 address {ROUTER_MAC}"));
            for router in ROUTER {
                neighbour(&topology.host, router, ROUTER_MAC, "eth0");
            }
        }
        let node = |name, sandboxes: &[Netns], topology: &Topology| {
            let [one, two, three] = sandboxes else {
                unreachable!("three sandboxes")
            };
            TestNode::new(name, [one, two, three, &topology.outside], &map)
        };
        let netpath = node("netpath", &sandboxes, &topologies[1]);
        let netfilter = node("netfilter", &others, &topologies[0]);
        sandboxes.extend(others);
        bind_to_processor();
        Self {
            netfilter,
            netpath,
            map,
            sandboxes,
            daemon,
            topologies,
        }
    }

    /// The host on which netfilter translates.
    pub fn netfilter_host(&self) -> &Netns {
        &self.topologies[0].host
    }

    /// Checks that netfilter did nothing on netpath's node, and that teardown of netpath removes everything.
    pub fn finish(self) {
        assert_no_netfilter(&self.topologies[1].host);
        for sandbox in &self.sandboxes[..SANDBOXES.len()] {
            assert_no_netfilter(sandbox);
        }
        self.daemon.teardown();
    }
}

/// Whether a frame belongs to neighbour or router discovery, which network stacks send at any time.
fn is_discovery(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x00]) => is_barrier(frame),
        // A packet with a hop-by-hop header to a multicast address is multicast listener discovery.
        Some([0x86, 0xdd]) => {
            frame.get(20) == Some(&58) && matches!(frame.get(54), Some(130..=137 | 143))
                || frame.get(38) == Some(&0xff)
        }
        _ => true,
    }
}

fn is_barrier(frame: &[u8]) -> bool {
    let barrier: [u8; 4] = [198, 18, 0, 1];
    frame.get(26..30) == Some(&barrier) || frame.get(30..34) == Some(&barrier)
}
