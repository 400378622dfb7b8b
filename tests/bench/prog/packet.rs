//! Packets for test runs, and the keys of their flows.

use std::net::{IpAddr, SocketAddr};

use netpath_common::{
    addr::{Addr, Be16},
    flow::{FlowKey, UDP},
};

/// A UDP packet of 64 bytes of payload.
pub struct Udp {
    /// Source.
    pub from: SocketAddr,
    /// Destination.
    pub to: SocketAddr,
    /// Ethernet source.
    pub mac: [u8; 6],
    /// Ethernet destination.
    pub next_hop: [u8; 6],
}

const PAYLOAD: [u8; 64] = [0; 64];
const TTL: u8 = 255;

impl Udp {
    /// From the Ethernet header on. The UDP checksum is not right, but there: it is corrected, not checked.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.next_hop.to_vec();
        bytes.extend(self.mac);
        let length = (8 + PAYLOAD.len()) as u16;
        match (self.from.ip(), self.to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                bytes.extend([0x08, 0x00, 0x45, 0]);
                bytes.extend((20 + length).to_be_bytes());
                bytes.extend([0, 0, 0x40, 0, TTL, UDP, 0, 0]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
                bytes.extend(length.to_be_bytes());
                bytes.extend([UDP, TTL]);
                bytes.extend(from.octets());
                bytes.extend(to.octets());
            }
            _ => panic!("{} and {} are of two families", self.from, self.to),
        }
        bytes.extend(self.from.port().to_be_bytes());
        bytes.extend(self.to.port().to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(PAYLOAD);
        bytes
    }
}

/// The key of such packets.
pub fn key(from: SocketAddr, to: SocketAddr) -> FlowKey {
    FlowKey {
        src: address(from.ip()),
        dst: address(to.ip()),
        sport: Be16::new(from.port()),
        dport: Be16::new(to.port()),
        protocol: UDP,
        ..FlowKey::default()
    }
}

fn address(address: IpAddr) -> Addr {
    match address {
        IpAddr::V4(address) => Addr::from_raw_v4(u32::from_ne_bytes(address.octets())),
        IpAddr::V6(address) => Addr::from_octets(address.octets()),
    }
}
