//! Packets of overlay networks between nodes, in VXLAN (RFC 7348).
//!
//! ```text
//! sandbox ─► destination on another node? ─► route to that node ─► add headers ─► next hop
//! tunnel packet to this node ─► header, VNI ─► remove headers ─► source on the sending node? ─► congestion ─► sandbox
//! ```
//!
//! A node accepts a packet only from the node that has its source address, so a node can forge only addresses of its own
//! sandboxes. No address is learned from packets.

use netpath_common::{
    addr::{Be16, Family},
    flow::UDP,
    maps::{AddressOwner, Endpoint, ICC_OFF},
    reason::Reason,
};

use super::{deliver, guard, parse_packet, too_big, wire_length};
use crate::{
    context::Context,
    hash::keyed_hash,
    helpers, maps,
    packet::Packet,
    parse::{ETHERNET, ETHERTYPE_IPV4, ETHERTYPE_IPV6, FragmentPosition, Parsed, UDP_HEADER},
    rewrite::tunnel::{self, VNI_IS_VALID, VXLAN_HEADER},
    route,
    stage::stage,
};

/// First source port of tunnel packets (RFC 7348 §5).
const FIRST_PORT: u16 = 49_152;
/// Flags of a VXLAN header that make it another protocol (draft-ietf-nvo3-vxlan-gpe): a version, and a protocol inside that may
/// not be Ethernet. Other reserved bits are ignored.
const OTHER_PROTOCOL: u8 = 0x34;

/// Whether [`send`] may return a reason for a packet of an endpoint that is not for the gateway, or for any tunnel packet. Packets
/// to the outside, which have the MAC address of the gateway, cost no lookup.
///
/// Not inlined: the frame of `endpoint_in` would be too large for the stack of Linux 6.1.
#[inline(never)]
pub fn may_concern(context: &Context, endpoint: &Endpoint) -> bool {
    is_for_tunnel_port(context)
        || (endpoint.is_overlay() && !guard::is_to_gateway(&context.skb, endpoint))
}

stage! {
    /// Sends a packet of the endpoint in `slot` to the node that has its destination. `None` if no other node has it, or if the
    /// source address is not the sandbox's. A tunnel packet to another node is dropped: it would come from the address of this node.
    ///
    /// The stages are called one after the other, because on Linux 6.1 their frames do not fit on the stack together.
    pub fn send(context: &mut Context, slot: u32) -> Option<Reason> {
        let endpoint = maps::endpoint(slot)?;
        if is_for_tunnel_port(context) && is_to_peer(context) {
            return Some(Reason::Tunnel);
        }
        if !endpoint.is_overlay() || endpoint.address(context.parsed.family) != context.parsed.key.src {
            return None;
        }
        let is_routed = describe(context, slot)?;
        if endpoint.flags & ICC_OFF != 0 {
            return Some(Reason::IccOff);
        }
        if !is_routed {
            match route::look_up_node(context, endpoint.bridge) {
                Ok(()) => {}
                Err(Reason::TooBig) => return Some(too_big::answer_too_big(context, slot)),
                Err(reason) => return Some(reason),
            }
            keep_route(context, slot);
        }
        Some(encapsulate(context))
    }
}

stage! {
    /// Describes the tunnel packet for a packet of the endpoint in `slot` in `scratch.tunnel`. Its congestion notification is that of
    /// the packet (RFC 6040 §4.1), and its differentiated services code point is 0. Whether its next hop is known, which is then in
    /// `scratch.route.found`. `None` if no other node has the destination.
    fn describe(context: &mut Context, slot: u32) -> Option<bool> {
        let endpoint = maps::endpoint(slot)?;
        let dst = context.parsed.key.dst;
        let remote = maps::remote(endpoint.network, dst)?;
        // The block of another node may contain the directed broadcast address.
        let [first, _, _, _, _, _, g, h, i, j, k, l, m, n] = *context.skb.header::<[u8; ETHERNET]>(0)?;
        if first & 1 != 0 {
            return None;
        }
        let part = remote.get();
        let family = part.peer.family();
        let length = wire_length(&context.skb, context.parsed) + tunnel::overhead(family);
        let sport = source_port(context);
        let tunnel = &mut context.scratch.tunnel;
        // A receiver without eBPF programs delivers the frame by its MAC address.
        let [a, b, c, d, e, f] = part.mac_of(dst).0;
        tunnel.ethernet = [a, b, c, d, e, f, g, h, i, j, k, l, m, n];
        tunnel.vni = part.vni;
        tunnel.length = length as u32;
        let outer = &mut tunnel.outer;
        outer.family = family;
        outer.tos = context.parsed.tos & tunnel::ECN;
        outer.key.src = context.config.underlay(family);
        outer.key.dst = part.peer;
        outer.key.sport = Be16::new(sport);
        outer.key.dport = Be16::new(context.config.tunnel_port as u16);
        outer.key.protocol = UDP;
        Some(match route::kept_to_node(context, remote, length as u32) {
            Some(hop) => {
                context.scratch.route.found.hop = hop;
                true
            }
            None => false,
        })
    }
}

stage! {
    /// Keeps the route that was looked up for the destination of a packet of the endpoint in `slot`.
    fn keep_route(context: &mut Context, slot: u32) -> bool {
        let Some(endpoint) = maps::endpoint(slot) else {
            return false;
        };
        match maps::remote(endpoint.network, context.parsed.key.dst) {
            Some(remote) => {
                route::keep_to_node(context, remote);
                true
            }
            None => false,
        }
    }
}

stage! {
    /// Adds the headers that `scratch.tunnel` describes, and sends the tunnel packet to the next hop in `scratch.route.found`.
    fn encapsulate(context: &mut Context) -> Reason {
        context.skb.clear_mark();
        helpers::redirect_to_neighbour(&context.skb, &context.scratch.route.found.hop);
        let tunnel = &context.scratch.tunnel;
        let family = tunnel.outer.family;
        let skb = &mut context.skb;
        if !helpers::add_tunnel_room(skb, family, tunnel::overhead(family))
            || tunnel::write_tunnel(skb, &tunnel.outer, tunnel.vni, &tunnel.ethernet).is_none()
        {
            return Reason::WriteFailed;
        }
        skb.note(context.config.secret);
        Reason::Encapsulated
    }
}

stage! {
    /// Whether the destination is the underlay address of another node.
    fn is_to_peer(context: &mut Context) -> bool {
        let dst = context.parsed.key.dst;
        maps::peer(&dst).is_some()
    }
}

/// Whether a packet is for the tunnel port of some node.
#[inline(always)]
fn is_for_tunnel_port(context: &Context) -> bool {
    let key = &context.parsed.key;
    key.protocol == UDP && context.config.is_tunnel_port(key.dport.get())
}

/// The source port of the tunnel packet, which is the same for all packets of a flow. Fragments of a datagram have no ports in
/// common, so the ports of a fragment do not count.
#[inline(always)]
fn source_port(context: &Context) -> u16 {
    let key = &context.parsed.key;
    let ports = match context.parsed.fragment.position {
        FragmentPosition::Whole => (key.sport.raw() as u64) << 32 | (key.dport.raw() as u64) << 16,
        FragmentPosition::First | FragmentPosition::Later => 0,
    };
    let ((a, b), (c, d)) = (key.src.raw(), key.dst.raw());
    let addresses = a ^ b ^ c.rotate_left(32) ^ d.rotate_left(17);
    let hash = keyed_hash(
        context.config.secret ^ addresses,
        ports | key.protocol as u64,
    );
    FIRST_PORT | hash as u16
}

/// Whether a packet that an interface has received is a tunnel packet to this node.
#[inline(always)]
pub fn is_to_node(context: &Context) -> bool {
    is_for_tunnel_port(context)
        && context.parsed.key.dst == context.config.underlay(context.parsed.family)
}

/// Delivers the packet inside a tunnel packet.
#[inline(always)]
pub fn receive(context: &mut Context) -> Reason {
    if let Err(reason) = remove_headers(context) {
        return reason;
    }
    match parse_packet(context) {
        Ok(()) => deliver_inner(context),
        Err(_) => Reason::TunnelInner,
    }
}

stage! {
    /// Checks and removes the headers of a tunnel packet. `scratch.tunnel` then describes it.
    fn remove_headers(context: &mut Context) -> Result<(), Reason> {
        if !context.skb.is_for_this_host() {
            return Err(Reason::NotOurs);
        }
        if context.parsed.fragment.position != FragmentPosition::Whole {
            return Err(Reason::TunnelFragment);
        }
        let start = context.parsed.l3 + context.parsed.l4;
        let frame = UDP_HEADER + VXLAN_HEADER;
        if context.skb.header::<[u8; ETHERNET]>(start + frame).is_none() {
            context.skb.linearize();
        }
        let network = check_headers(context, start)?;
        let inner = match copy_ethernet(context, start + frame) {
            Some(ETHERTYPE_IPV4) => Family::V4,
            Some(ETHERTYPE_IPV6) => Family::V6,
            _ => return Err(Reason::TunnelInner),
        };
        let Context { skb, parsed, scratch, .. } = context;
        let length = parsed.l4 + frame + ETHERNET;
        if parsed.end < length + tunnel::network_header(inner) {
            return Err(Reason::TunnelInner);
        }
        let outer = &mut scratch.tunnel.outer;
        outer.key.src = parsed.key.src;
        outer.tos = parsed.tos;
        outer.end = parsed.end - length;
        scratch.tunnel.network = network;
        let has_header = parsed.l3 != 0;
        if helpers::remove_tunnel_headers(skb, parsed.family, inner, length)
            && (has_header || skb.push_link_header(ETHERNET))
            && tunnel::write_ethernet(skb, &scratch.tunnel.ethernet).is_some()
        {
            Ok(())
        } else {
            Err(Reason::WriteFailed)
        }
    }
}

/// Checks the UDP and the VXLAN header of a tunnel packet, whose UDP header is at `start`. Returns the index of the network.
#[inline(always)]
fn check_headers(context: &Context, start: usize) -> Result<u32, Reason> {
    let (skb, parsed): (_, &Parsed) = (&context.skb, context.parsed);
    let datagram = parsed.end - parsed.l4;
    if parsed.end < parsed.l4 + UDP_HEADER + VXLAN_HEADER + ETHERNET {
        return Err(Reason::TunnelHeader);
    }
    let Some([_, _, _, _, a, b, _, _]) = skb.header::<[u8; 8]>(start).copied() else {
        return Err(Reason::TunnelHeader);
    };
    // The length field of a GSO packet may be that of a segment.
    if skb.segment_size() == 0 && u16::from_be_bytes([a, b]) as usize != datagram {
        return Err(Reason::TunnelHeader);
    }
    let Some([flags, _, _, _, a, b, c, _]) = skb.header::<[u8; 8]>(start + UDP_HEADER).copied()
    else {
        return Err(Reason::TunnelHeader);
    };
    if flags & (VNI_IS_VALID | OTHER_PROTOCOL) != VNI_IS_VALID {
        return Err(Reason::TunnelHeader);
    }
    maps::network_of_vni(u32::from_be_bytes([0, a, b, c])).ok_or(Reason::TunnelVni)
}

/// Copies the Ethernet header at `offset` to `scratch.tunnel`, and returns its ethertype. `None` if it is not a frame from one
/// host to another.
#[inline(always)]
fn copy_ethernet(context: &mut Context, offset: usize) -> Option<u16> {
    let ethernet = *context.skb.header::<[u8; ETHERNET]>(offset)?;
    context.scratch.tunnel.ethernet = ethernet;
    let [a, _, _, _, _, _, g, _, _, _, _, _, m, n] = ethernet;
    ((a | g) & 1 == 0).then_some(u16::from_be_bytes([m, n]))
}

stage! {
    /// Delivers a packet of the network in `scratch.tunnel`, after the headers of its tunnel packet were removed.
    fn deliver_inner(context: &mut Context) -> Reason {
        let network = context.scratch.tunnel.network;
        if context.parsed.end > context.scratch.tunnel.outer.end {
            return Reason::TunnelInner;
        }
        if let Err(reason) = check_source(context, network) {
            return reason;
        }
        let Some(AddressOwner::Endpoint(slot)) = maps::address_owner(&context.parsed.key.dst) else {
            return Reason::TunnelTarget;
        };
        let endpoint = match maps::endpoint(slot) {
            Some(endpoint) if endpoint.ifindex != 0 && endpoint.network == network => endpoint,
            _ => return Reason::TunnelTarget,
        };
        if endpoint.flags & ICC_OFF != 0 {
            return Reason::IccOff;
        }
        if let Err(reason) = apply_congestion(context) {
            return reason;
        }
        match deliver::bridged(&mut context.skb, endpoint) {
            Reason::Sibling => Reason::Decapsulated,
            reason => reason,
        }
    }
}

/// Checks that the source address is on the node that sent the tunnel packet.
#[inline(always)]
fn check_source(context: &Context, network: u32) -> Result<(), Reason> {
    let sender = context.scratch.tunnel.outer.key.src;
    let remote = maps::remote(network, context.parsed.key.src);
    if let Some(remote) = remote
        && remote.get().peer == sender
    {
        return Ok(());
    }
    // The node may have sent it from another one of its addresses.
    match (maps::peer(&sender), remote) {
        (None, _) => Err(Reason::TunnelPeer),
        (Some(peer), Some(remote)) if remote.get().peer == peer.address => Ok(()),
        (Some(_), _) => Err(Reason::TunnelSource),
    }
}

/// Writes the congestion notification of the tunnel packet to the packet inside.
#[inline(always)]
fn apply_congestion(context: &mut Context) -> Result<(), Reason> {
    let Context {
        skb,
        parsed,
        scratch,
        ..
    } = context;
    let inner = parsed.tos & tunnel::ECN;
    match tunnel::decapsulated_ecn(inner, scratch.tunnel.outer.tos) {
        None => Err(Reason::TunnelCongested),
        Some(ecn) if ecn == inner => Ok(()),
        Some(ecn) => tunnel::set_ecn(skb, parsed, ecn).ok_or(Reason::WriteFailed),
    }
}
