//! What a sandbox may send: packets from its own addresses.

use netpath_common::{
    addr::{Addr, MacAddr},
    flow::UDP,
    maps::{Config, Endpoint, VXLAN_PORT},
    reason::Reason,
};

use super::{destination::stays_on_link, link_address};
use crate::{context::Context, maps, packet::Packet, parse::Parsed};

/// Whether the source MAC address is the sandbox's.
#[inline(always)]
pub fn has_own_mac<P: Packet>(packet: &P, endpoint: &Endpoint) -> bool {
    match packet.header::<[u8; 6]>(6) {
        Some(source) => same_mac(source, &endpoint.mac.0),
        None => false,
    }
}

/// Checks that the source address is that of the endpoint in `slot`. A link-local source is accepted only in packets that stay
/// on the link.
///
/// # Errors
/// The reason for the verdict if it is not.
#[inline(always)]
pub fn check_source(
    context: &mut Context,
    slot: u32,
    endpoint: &'static Endpoint,
) -> Result<(), Reason> {
    let source = context.parsed.key.src;
    // The address of a family that the endpoint does not have is `::`.
    if endpoint.address(context.parsed.family) == source && !source.is_unspecified() {
        return Ok(());
    }
    if source.is_v4_link_local() {
        return Err(Reason::LinkSpoofed);
    }
    if !source.is_link_local() || !stays_on_link(context.parsed.key.dst) {
        return Err(Reason::Spoofed);
    }
    if link_address::is_own(context, slot, endpoint, source) {
        Ok(())
    } else {
        Err(Reason::LinkSpoofed)
    }
}

/// Whether an address is the directed broadcast address of the endpoint's network.
#[inline(always)]
pub fn is_broadcast(addr: Addr, endpoint: &Endpoint) -> bool {
    match maps::subnet(addr) {
        Some(subnet) => {
            addr.is_v4()
                && subnet.network == endpoint.network
                && subnet.broadcast != 0
                && subnet.broadcast == addr.raw_v4()
        }
        None => false,
    }
}

/// Whether the destination MAC address is the gateway's.
#[inline(always)]
pub fn is_to_gateway<P: Packet>(packet: &P, endpoint: &Endpoint) -> bool {
    is_addressed_to(packet, &endpoint.gateway_mac)
}

/// Whether the destination MAC address is this one.
#[inline(always)]
pub fn is_addressed_to<P: Packet>(packet: &P, mac: &MacAddr) -> bool {
    match packet.header::<[u8; 6]>(0) {
        Some(destination) => same_mac(destination, &mac.0),
        None => false,
    }
}

/// Whether the node may decapsulate the packet. The inner packet would then appear to come from a trusted node.
#[inline(always)]
pub fn is_tunnel(config: &Config, parsed: &Parsed) -> bool {
    match parsed.key.protocol {
        UDP => {
            matches!(parsed.key.dport.get(), port if port == VXLAN_PORT || config.is_tunnel_port(port))
        }
        protocol => matches!(protocol, IPIP | IPV6_IN_IP | GRE),
    }
}

/// Protocol numbers of IPv4, IPv6 and GRE inside IP.
const IPIP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
const GRE: u8 = 47;

/// Whether two MAC addresses are equal.
#[inline(always)]
pub fn same_mac(a: &[u8; 6], b: &[u8; 6]) -> bool {
    // Compared as integers: a comparison of slices compiles to a call of a byte loop.
    let [a0, a1, a2, a3, a4, a5] = *a;
    let [b0, b1, b2, b3, b4, b5] = *b;
    u32::from_ne_bytes([a0, a1, a2, a3]) == u32::from_ne_bytes([b0, b1, b2, b3])
        && u16::from_ne_bytes([a4, a5]) == u16::from_ne_bytes([b4, b5])
}
