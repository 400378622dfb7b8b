//! The overlay network of the tests, and the other nodes.
//!
//! ```text
//! node    underlay addresses                                        last bytes of its addresses in the network
//! first   192.0.2.50 (in `remotes`), 192.0.2.52, 2001:db8:2::50     64–127, 240 (with a MAC address of its own)
//! second  2001:db8:2::60                                            128–191
//! narrow  192.0.2.51, to which the route has an MTU of 1300         192–207
//! wide    2001:db8:2::61, to which the route has an MTU of 1400     208–223
//! lost    203.0.113.1, to which there is no route                   224–239
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netpath::{
    datapath::tables::Tables,
    plan::overlay::{PeerEntry, RemoteEntry, RemoteKey, TunnelEntry, VniEntry},
};
use netpath_common::addr::MacAddr;

use super::{
    Family,
    node::{OVERLAY, OVERLAY_QUIET},
};

/// VNI of the network.
pub const VNI: u32 = 0x12_3456;
/// UDP port of tunnels.
pub const TUNNEL_PORT: u16 = 4789;
/// MAC address of the sandbox on the first node whose MAC address does not follow from its address.
pub const MAC_EXCEPTION: [u8; 6] = [2, 0, 0, 0, 3, 1];
/// Last byte of that sandbox's addresses.
pub const EXCEPTION: u8 = 240;

/// The underlay address of the first node, which is in `remotes`.
pub const FIRST: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 50));
/// Other underlay addresses of the first node.
pub const FIRST_OTHERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(192, 0, 2, 52)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x50)),
];
/// The underlay address of the second node.
pub const SECOND: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x60));
/// The underlay address of the node with a narrow IPv4 route.
pub const NARROW: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 51));
/// The underlay address of the node with a narrower IPv6 route.
pub const WIDE: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 0x61));
/// The underlay address of the node without a route.
pub const LOST: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));

/// First of the last bytes, length of the IPv4 prefix, and node.
const PARTS: [(u8, u8, IpAddr); 6] = [
    (64, 26, FIRST),
    (128, 26, SECOND),
    (192, 28, NARROW),
    (208, 28, WIDE),
    (224, 28, LOST),
    (EXCEPTION, 32, FIRST),
];

/// Routes to the nodes whose packets are smaller.
pub(super) const ROUTES: [&str; 2] = [
    "route add 192.0.2.51 dev eth0 mtu lock 1300",
    "route add 2001:db8:2::61 dev eth0 mtu lock 1400",
];

impl Family {
    /// An address of the overlay network.
    pub fn overlay(self, last: u8) -> IpAddr {
        self.inside(OVERLAY, last)
    }

    /// An address of the overlay network whose sandboxes exchange no packets.
    pub fn quiet_overlay(self, last: u8) -> IpAddr {
        self.inside(OVERLAY_QUIET, last)
    }
}

/// The MAC address that follows from an address.
pub fn derived_mac(ip: IpAddr) -> [u8; 6] {
    match ip {
        IpAddr::V4(ip) => {
            let [a, b, c, d] = ip.octets();
            [2, 0x42, a, b, c, d]
        }
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [2, 0x43, a, b, c, d]
        }
    }
}

/// Writes the entries of the maps.
pub(super) fn fill(tables: &mut Tables) {
    let mut peers = vec![FIRST, SECOND, NARROW, WIDE, LOST];
    let mut peers: Vec<_> = peers
        .drain(..)
        .map(|ip| (ip, PeerEntry { address: ip }))
        .collect();
    peers.extend(FIRST_OTHERS.map(|ip| (ip, PeerEntry { address: FIRST })));
    tables.put(&peers).expect("peers");
    let mut remotes = Vec::new();
    for (network, vni) in [(OVERLAY, VNI), (OVERLAY_QUIET, VNI + 1)] {
        for family in Family::BOTH {
            remotes.extend(PARTS.map(|(last, length, peer)| {
                let length = if family.is_v4() { length } else { 96 + length };
                let prefix = ipnet::IpNet::new(family.inside(network, last), length);
                let prefix = prefix.expect("prefix");
                let mac = (last == EXCEPTION).then_some(MacAddr(MAC_EXCEPTION));
                (
                    RemoteKey { network, prefix },
                    RemoteEntry { peer, vni, mac },
                )
            }));
        }
        let vnis = [(vni, VniEntry { network })];
        tables.put(&vnis).expect("VNI");
    }
    tables.put(&remotes).expect("remotes");
    let address = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => (Some(ip), None),
        IpAddr::V6(ip) => (None, Some(ip)),
    };
    let tunnel = TunnelEntry {
        port: TUNNEL_PORT,
        v4: address(Family::V4.host()).0,
        v6: address(Family::V6.host()).1,
    };
    tables.put(&[((), tunnel)]).expect("tunnel");
}
