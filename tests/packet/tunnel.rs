//! Tunnel packets (RFC 7348).

use std::net::IpAddr;

use super::{Checksum, Packet};

/// The least source port of a tunnel packet.
pub const FIRST_TUNNEL_PORT: u16 = 49_152;

impl Packet {
    /// A tunnel packet between two nodes with a frame inside, as a node sends it.
    pub fn tunnel(source: IpAddr, destination: IpAddr, vni: u32, frame: &[u8]) -> Self {
        let [_, a, b, c] = vni.to_be_bytes();
        let mut payload = vec![8, 0, 0, 0, a, b, c, 0];
        payload.extend(frame);
        let packet = Self::ip(source, destination)
            .udp(FIRST_TUNNEL_PORT, 4789)
            .payload(&payload)
            .checksum(Checksum::Absent);
        if source.is_ipv4() {
            packet.dont_fragment().id(0)
        } else {
            packet
        }
    }
}
