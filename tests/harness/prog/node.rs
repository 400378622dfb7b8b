//! The node of the tests: devices, networks, sandboxes and published ports.
//!
//! ```text
//! network     flags        slots        remarks
//! 1 web       masquerade   1, 2         slot 1 publishes 8080/tcp, 5353/udp, ranges, and more; slot 2 publishes 8090/tcp
//! 2 other     masquerade   3            publishes 8091/tcp
//! 3 routed    routed       4            80/tcp open under its own address
//! 4 internal  internal     5, 6
//! 5 quiet     icc off      7, 8
//! 6 plain     none         9            neither translated nor routed: masquerading is off
//! 7 stuck     masquerade   10           forwarding is off on its bridge
//! 8 four      masquerade   11           no IPv6, no gateway; publishes 8081/tcp
//! 9           masquerade   12, 13       an overlay network; see `overlay.rs`
//! 10          icc off      14           the same
//! ```
//! `eth0` is an uplink with two addresses per family, `eth1` is an uplink without addresses, and `lan0` is no uplink.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpath::{
    datapath::tables::Tables,
    model::{Name, Protocol},
    plan::{
        Interface, LinkHeader,
        tables::{
            AddressEntry, AllowEntry, AllowKey, EndpointEntry, NetworkEntry, PortEntry, PortKey,
            SubnetEntry,
        },
    },
};
use netpath_common::{
    addr::MacAddr,
    maps::{ICC_OFF, INTERNAL, MASQUERADE, OVERLAY as OVERLAY_FLAG, ROUTED},
};

use crate::Netns;

/// MAC address of `eth0`.
pub const MAC_UPLINK: [u8; 6] = [2, 0, 0, 0, 2, 1];
/// MAC address of the next hop at `eth0`.
pub const MAC_OUTSIDE: [u8; 6] = [2, 0, 0, 0, 2, 2];

/// Flags and slots of each network; network indices start at 1.
const NETWORKS: [(u32, &[u32]); 10] = [
    (MASQUERADE, &[1, 2]),
    (MASQUERADE, &[3]),
    (ROUTED, &[4]),
    (INTERNAL, &[5, 6]),
    (MASQUERADE | ICC_OFF, &[7, 8]),
    (0, &[9]),
    (MASQUERADE, &[10]),
    (MASQUERADE, &[11]),
    (MASQUERADE | OVERLAY_FLAG, &[12, 13]),
    (MASQUERADE | OVERLAY_FLAG | ICC_OFF, &[14]),
];
const STUCK: u32 = 7;
const FOUR: u32 = 8;
/// The overlay network.
pub(super) const OVERLAY: u32 = 9;
/// The overlay network whose sandboxes exchange no packets.
pub(super) const OVERLAY_QUIET: u32 = 10;

/// Generation of every endpoint, unless a test changes it.
const GENERATION: u32 = 7;

/// MAC address of a sandbox.
pub const fn sandbox_mac(slot: u32) -> [u8; 6] {
    [2, 0, 0, 0, 0, slot as u8]
}

/// MAC address of a sandbox's bridge.
pub fn gateway_mac(slot: u32) -> [u8; 6] {
    [2, 0, 0, 0, 1, network_of(slot) as u8]
}

/// An address family, with the addresses of the node and its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Both families.
    pub const BOTH: [Self; 2] = [Self::V4, Self::V6];

    /// Whether it is IPv4.
    pub fn is_v4(self) -> bool {
        self == Self::V4
    }

    /// The node's address at `eth0`.
    pub fn host(self) -> IpAddr {
        self.pick([192, 0, 2, 1], "2001:db8:2::1")
    }

    /// The node's second address at `eth0`.
    pub fn host2(self) -> IpAddr {
        self.pick([192, 0, 2, 9], "2001:db8:2::9")
    }

    /// A client outside.
    pub fn client(self) -> IpAddr {
        self.pick([198, 51, 100, 7], "2001:db8:51::7")
    }

    /// A client outside that is in no allow-list.
    pub fn unlisted_client(self) -> IpAddr {
        self.pick([198, 51, 101, 7], "2001:db8:52::7")
    }

    /// A host that is reached through `lan0`, which is not an uplink.
    pub fn lan_host(self) -> IpAddr {
        self.pick([198, 18, 0, 1], "2001:db8:18::1")
    }

    /// A destination with an unreachable route.
    pub fn unreachable(self) -> IpAddr {
        self.pick([203, 0, 113, 1], "2001:db8:113::1")
    }

    /// A sandbox.
    pub fn sandbox(self, slot: u32) -> IpAddr {
        self.inside(network_of(slot), 10 + slot as u8)
    }

    /// An address of a network that no sandbox has.
    pub fn unused_address(self, network: u32) -> IpAddr {
        self.inside(network, 200)
    }

    /// The gateway of a network.
    pub fn gateway(self, network: u32) -> IpAddr {
        self.inside(network, 1)
    }

    /// The address of this family.
    pub fn pick(self, v4: [u8; 4], v6: &str) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::from(v4).into(),
            Self::V6 => v6.parse().expect("address"),
        }
    }

    pub(super) fn inside(self, network: u32, last: u8) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::new(10, network as u8, 0, last).into(),
            Self::V6 => Ipv6Addr::new(0xfd00, 0, 0, network as u16, 0, 0, 0, last.into()).into(),
        }
    }
}

fn network_of(slot: u32) -> u32 {
    (1..)
        .zip(NETWORKS)
        .find(|(_, (_, slots))| slots.contains(&slot))
        .map_or(0, |(network, _)| network)
}

/// Creates devices, addresses and routes.
pub(super) fn make_devices(netns: &Netns) {
    netns.sysctl("net/ipv4/conf/all/forwarding", "1");
    netns.sysctl("net/ipv6/conf/all/forwarding", "1");
    let mut lines = String::new();
    let mut line = |text: String| writeln!(lines, "{text}").expect("text");
    for device in ["eth0", "eth1", "lan0"] {
        line(format!(
            "link add name {device} type veth peer name {device}p"
        ));
        line(format!("link set {device}p up"));
    }
    for (network, (_, slots)) in (1..).zip(NETWORKS) {
        line(format!("link add name br{network} type bridge"));
        line(format!("link set br{network} up"));
        for slot in slots {
            line(format!(
                "link add name ve{slot} type veth peer name vi{slot}"
            ));
            line(format!("link set vi{slot} up"));
            line(format!("link set ve{slot} up"));
        }
        for family in Family::BOTH {
            let (length, no_dad) = if family.is_v4() {
                (24, "")
            } else {
                (64, "nodad")
            };
            let gateway = family.gateway(network);
            line(format!(
                "addr add {gateway}/{length} dev br{network} {no_dad}"
            ));
        }
    }
    let [a, b, c, d, e, f] = MAC_UPLINK;
    line(format!(
        "link set eth0 address {a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}"
    ));
    for device in ["eth0", "eth1", "lan0"] {
        line(format!("link set {device} up"));
    }
    for text in [
        "addr add 192.0.2.1/24 dev eth0",
        "addr add 192.0.2.9/24 dev eth0",
        "addr add 2001:db8:2::9/64 dev eth0 nodad preferred_lft 0",
        "addr add 2001:db8:2::1/64 dev eth0 nodad",
        "addr add 192.0.3.1/24 dev lan0",
        "addr add 2001:db8:3::1/64 dev lan0 nodad",
        "route add default via 192.0.2.2",
        "route add default via 2001:db8:2::2",
        "route add 198.18.0.0/15 via 192.0.3.2",
        "route add 2001:db8:18::/48 via 2001:db8:3::2",
        "route add unreachable 203.0.113.0/24",
        "route add unreachable 2001:db8:113::/48",
    ] {
        line(text.to_owned());
    }
    for text in super::overlay::ROUTES {
        line(text.to_owned());
    }
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(lines.as_bytes()).expect("file");
    netns.exec(&format!("ip -batch {}", file.path().display()));
    for family in ["ipv4", "ipv6"] {
        netns.sysctl(&format!("net/{family}/conf/br{STUCK}/forwarding"), "0");
    }
}

/// Writes the entries of the maps. Restores what a test has changed, except entries that it added.
pub(super) fn fill(tables: &mut Tables) {
    let uplink = |families: &[Family]| Interface {
        mtu: 1500,
        header: LinkHeader::Ethernet,
        is_uplink: true,
        v4: families
            .iter()
            .find(|family| family.is_v4())
            .map(|family| family.host()),
        v6: families
            .iter()
            .find(|family| !family.is_v4())
            .map(|family| family.host()),
    };
    let uplinks = [
        ("eth0".to_owned(), uplink(&Family::BOTH)),
        ("eth1".to_owned(), uplink(&[])),
    ];
    tables.put(&uplinks).expect("uplinks");
    let mut addresses = Vec::new();
    for family in Family::BOTH {
        addresses.push((family.host(), AddressEntry::Host));
        addresses.push((family.host2(), AddressEntry::Host));
    }
    for (network, (flags, slots)) in (1..).zip(NETWORKS) {
        let entry = NetworkEntry {
            flags,
            bridge: format!("br{network}"),
            vni: 0,
            name: name(&format!("n{network}")),
        };
        tables.put(&[(network, entry)]).expect("network");
        for family in Family::BOTH {
            let length = if family.is_v4() { 24 } else { 64 };
            let prefix = ipnet::IpNet::new(family.gateway(network), length).expect("prefix");
            let entry = SubnetEntry { network, flags };
            tables.put(&[(prefix.trunc(), entry)]).expect("subnet");
            addresses.push((family.gateway(network), AddressEntry::Host));
        }
        for slot in slots {
            let entry = endpoint(*slot);
            let known = entry.addresses.iter();
            addresses.extend(known.map(|ip| (*ip, AddressEntry::Endpoint(*slot))));
            tables.put(&[(*slot, entry)]).expect("endpoint");
        }
    }
    tables.put(&addresses).expect("addresses");
    tables.put(&ports()).expect("ports");
    let allow = [
        "198.51.100.0/24",
        "2001:db8:51::/48",
        "10.1.0.0/24",
        "fd00:0:0:1::/64",
    ];
    let allow: Vec<_> = allow
        .iter()
        .map(|prefix| {
            let prefix = prefix.parse().expect("prefix");
            (AllowKey { list: 1, prefix }, AllowEntry)
        })
        .collect();
    tables.put(&allow).expect("allow");
    super::overlay::fill(tables);
}

/// The entry of a slot.
pub fn endpoint(slot: u32) -> EndpointEntry {
    let network = network_of(slot);
    let (flags, _) = NETWORKS[network as usize - 1];
    let families: &[Family] = if network == FOUR {
        &Family::BOTH[..1]
    } else {
        &Family::BOTH
    };
    let gateways = families.iter().filter(|_| network != FOUR);
    EndpointEntry {
        host_interface: format!("ve{slot}"),
        generation: GENERATION,
        network,
        flags,
        bridge: format!("br{network}"),
        mtu: 1500,
        mac: MacAddr(sandbox_mac(slot)),
        gateway_mac: MacAddr(gateway_mac(slot)),
        addresses: families.iter().map(|family| family.sandbox(slot)).collect(),
        gateways: gateways.map(|family| family.gateway(network)).collect(),
        next: 0,
        rate: None,
        sandbox: name(&format!("s{slot}")),
    }
}

/// A published range: protocol, address, first and last port, port and slot of the sandbox, allow-list.
pub fn port(
    protocol: Protocol,
    host_ip: Option<IpAddr>,
    range: (u16, u16),
    target: (u16, u32),
    allow: u32,
) -> (PortKey, PortEntry) {
    let (first, last) = range;
    let key = PortKey {
        protocol,
        host_ip,
        first,
        last,
    };
    let entry = PortEntry {
        target: target.0,
        endpoint: target.1,
        generation: GENERATION,
        allow,
        held_by_engine: false,
    };
    (key, entry)
}

fn ports() -> Vec<(PortKey, PortEntry)> {
    let tcp = |first, target, slot| port(Protocol::Tcp, None, (first, first), (target, slot), 0);
    let mut ports = vec![
        tcp(8080, 80, 1),
        port(Protocol::Udp, None, (5353, 5353), (53, 1), 0),
        tcp(8443, 443, 3),
        tcp(8444, 443, 3),
        port(Protocol::Tcp, None, (20_000, 20_099), (30_000, 1), 0),
        port(Protocol::Udp, None, (7000, 7002), (7000, 1), 0),
        port(Protocol::Tcp, None, (9443, 9443), (443, 1), 1),
        tcp(8081, 80, 11),
        tcp(8090, 80, 2),
        tcp(8091, 80, 3),
        tcp(62_000, 80, 1),
    ];
    for family in Family::BOTH {
        let any = family.pick([0, 0, 0, 0], "::");
        let exact = |ip, target| port(Protocol::Tcp, Some(ip), (8443, 8443), target, 0);
        ports.push(exact(family.host(), (443, 1)));
        ports.push(exact(any, (443, 2)));
        let own = Some(family.sandbox(4));
        ports.push(port(Protocol::Tcp, own, (80, 80), (80, 4), 0));
    }
    ports
}

fn name(text: &str) -> Name {
    text.parse().expect("name")
}
