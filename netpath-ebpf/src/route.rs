//! Routes of packets that leave the node.
//!
//! One lookup decides device, next hop and source address together. Its source address is the sandbox's for a flow that
//! the sandbox opens, so policy rules apply to it. For a reply it is the address of the node that the client used, so the
//! reply leaves by the device that a reply of the node itself would leave by.
//!
//! A flow keeps the device and the next hop until [`DECISION_AGE`] has passed or the daemon has seen a change of rules, routes,
//! addresses or links.

use netpath_common::{
    addr::Addr,
    maps::{Config, DECISION_AGE, DECISION_TICK, NextHop},
    reason::Reason,
};

use crate::{
    conntrack::Entry,
    context::Context,
    hash::keyed_hash,
    helpers::{self, AF_INET, AF_INET6, Lookup, RouteQuery},
    maps::{self, RemotePart},
    stage::stage,
};

stage! {
    /// Looks up the route of a packet of `length` bytes (network header and all that follows) with the source address in
    /// `scratch.route`, as if the packet arrived at the device `arrival`. The result is in `scratch.route.found`. If the route
    /// names no source address, the result has that of the outgoing device.
    ///
    /// # Errors
    /// The reason for the verdict if the packet cannot be redirected.
    pub fn look_up_route(context: &mut Context, arrival: u32, length: u32, flags: u32) -> Result<(), Reason> {
        let (skb, parsed) = (&context.skb, &*context.parsed);
        let route = &mut context.scratch.route;
        let query = RouteQuery {
            parsed,
            source: route.source,
            ifindex: arrival,
            flags,
        };
        let found = &mut route.found;
        let is_too_big = match helpers::find_route(skb, &query, length as usize, found) {
            Lookup::Found => false,
            Lookup::TooBig => true,
            // The stack finds no route either and sends an ICMP error.
            Lookup::Unreachable => return Err(Reason::Unreachable),
            Lookup::Local => return Err(Reason::ToHost),
            Lookup::Failed => return Err(Reason::NoRoute),
        };
        let device = match maps::device(found.hop.ifindex) {
            Some(device) if device.is_uplink() => device,
            _ => return Err(Reason::NoUplink),
        };
        if found.source.is_unspecified() {
            found.source = device.address(parsed.family);
        }
        if is_too_big { Err(Reason::TooBig) } else { Ok(()) }
    }
}

stage! {
    /// Looks up the source address that a packet at an egress hook gets: that of its route, or that of the device if the route
    /// leads elsewhere. The result is in `scratch.route.found`. `false` if flows must not leave through the device.
    pub fn look_up_source(context: &mut Context, arrival: u32) -> bool {
        let device = match maps::device(context.skb.ifindex()) {
            Some(device) if device.is_uplink() => device,
            _ => return false,
        };
        let parsed = &*context.parsed;
        let query = RouteQuery {
            parsed,
            source: parsed.key.src,
            ifindex: arrival,
            flags: context.config.source_flags,
        };
        let found = &mut context.scratch.route.found;
        let lookup = helpers::find_route(&context.skb, &query, 0, found);
        let is_here = matches!(lookup, Lookup::Found | Lookup::TooBig)
            && found.hop.ifindex == context.skb.ifindex();
        if !is_here || found.source.is_unspecified() {
            found.source = device.address(parsed.family);
        }
        true
    }
}

stage! {
    /// Looks up the route of the tunnel packet that `scratch.tunnel` describes. The result is in `scratch.route.found`.
    ///
    /// # Errors
    /// [`Reason::TooBig`] if the route does not take the packet, [`Reason::TunnelRoute`] if there is none, or this node has no
    /// address of its family.
    pub fn look_up_node(context: &mut Context, arrival: u32) -> Result<(), Reason> {
        let outer = &context.scratch.tunnel.outer;
        if outer.key.src.is_unspecified() {
            return Err(Reason::TunnelRoute);
        }
        let length = context.scratch.tunnel.length;
        let query = RouteQuery {
            parsed: outer,
            source: outer.key.src,
            ifindex: arrival,
            flags: context.config.route_flags,
        };
        let found = &mut context.scratch.route.found;
        let result = match helpers::find_route(&context.skb, &query, length as usize, found) {
            Lookup::Found => Ok(()),
            Lookup::TooBig => Err(Reason::TooBig),
            Lookup::Unreachable | Lookup::Local | Lookup::Failed => Err(Reason::TunnelRoute),
        };
        match maps::device(found.hop.ifindex) {
            Some(device) if device.is_interface() => result,
            _ => Err(Reason::TunnelRoute),
        }
    }
}

/// The next hop of a flow for a packet of `length` bytes. `None` if it must be looked up.
#[inline(always)]
pub fn kept(context: &Context, entry: Entry, length: u32) -> Option<NextHop> {
    kept_decision(context, entry.route(), context.parsed.key.dst, length)
}

/// The next hop towards another node for a tunnel packet of `length` bytes. `None` if it must be looked up.
#[inline(always)]
pub fn kept_to_node(context: &Context, remote: RemotePart, length: u32) -> Option<NextHop> {
    let remote = remote.get();
    let decision = (remote.next_hop, remote.mtu, remote.decided);
    kept_decision(context, decision, remote.peer, length)
}

/// The next hop by a decision: key of the next hop, largest packet, and when it was made.
#[inline(always)]
fn kept_decision(
    context: &Context,
    (key, mtu, decided): (u16, u16, u32),
    destination: Addr,
    length: u32,
) -> Option<NextHop> {
    // A policy rule may select another route for a packet with a mark.
    let is_marked = context.skb.mark() != 0;
    if key == 0 || is_marked || length > mtu as u32 || !is_valid(context.config, decided) {
        return None;
    }
    let mut hop = *maps::next_hop(key)?;
    if hop.family == 0 {
        (hop.family, hop.address) = directly_to(destination);
    }
    Some(hop)
}

/// Whether a decision is younger than [`DECISION_AGE`] and than the last change.
#[inline(always)]
fn is_valid(config: &Config, decided: u32) -> bool {
    let now = ticks(helpers::now());
    let age = now.wrapping_sub(decided);
    // A change in the same tick may be younger than the decision.
    age <= DECISION_AGE && now.wrapping_sub(ticks(config.routes_changed)) > age
}

#[inline(always)]
fn ticks(time: u64) -> u32 {
    (time >> DECISION_TICK) as u32
}

/// Keeps the result of the last lookup in the entry, unless the packet has a mark.
#[inline(never)]
pub fn keep(context: &Context, entry: Entry) {
    if let Some((key, mtu, decided)) = decision(context, context.parsed.key.dst) {
        entry.set_route(key, mtu, decided);
    }
}

/// Keeps the result of the last lookup for packets to another node.
#[inline(never)]
pub fn keep_to_node(context: &Context, remote: RemotePart) {
    if let Some((key, mtu, decided)) = decision(context, remote.get().peer) {
        remote.set_route(key, mtu, decided);
    }
}

/// The result of the last lookup as a decision about packets to `destination`. `None` if the packet has a mark.
#[inline(always)]
fn decision(context: &Context, destination: Addr) -> Option<(u16, u16, u32)> {
    if context.skb.mark() != 0 {
        return None;
    }
    let found = &context.scratch.route.found;
    let mut hop = NextHop {
        ifindex: found.hop.ifindex,
        family: found.hop.family,
        address: found.hop.address,
    };
    let (family, destination) = directly_to(destination);
    if hop.family == family && is_same(&hop.address, &destination) {
        (hop.family, hop.address) = (0, [0; 4]);
    }
    let key = key_of(context.config.secret, &hop);
    let stored = match maps::next_hop(key) {
        Some(other) if is_equal(other, &hop) => key,
        // Two next hops with one key: this one is looked up for each packet.
        Some(_) => 0,
        None => {
            maps::store_next_hop(key, &hop);
            key
        }
    };
    // A larger MTU is stored as 65,535: no IP packet is longer.
    let mtu = found.mtu.min(u16::MAX as u32) as u16;
    Some((stored, mtu, ticks(helpers::now())))
}

/// Whether a flow has left by another device before the last lookup, and has the source address of that device.
#[inline(always)]
pub fn has_moved(context: &Context, entry: Entry) -> bool {
    let found = &context.scratch.route.found;
    found.source != entry.to().src && !leaves_by(entry, found.hop.ifindex)
}

/// Whether the flow has left by this device, according to the last lookup for one of its packets.
#[inline(always)]
pub fn leaves_by(entry: Entry, ifindex: u32) -> bool {
    let (key, ..) = entry.route();
    matches!(maps::next_hop(key), Some(hop) if hop.ifindex == ifindex)
}

/// Address family and address of the next hop if packets are sent to their destination directly.
#[inline(always)]
fn directly_to(destination: Addr) -> (u32, [u32; 4]) {
    if destination.is_v4() {
        (AF_INET, [destination.raw_v4(), 0, 0, 0])
    } else {
        (AF_INET6, destination.raw_words())
    }
}

/// The key of a next hop, never 0.
#[inline(always)]
fn key_of(secret: u64, hop: &NextHop) -> u16 {
    let [a, b, c, d] = hop.address;
    let device = (hop.ifindex as u64) << 32 | hop.family as u64;
    let (high, low) = ((a as u64) << 32 | b as u64, (c as u64) << 32 | d as u64);
    (keyed_hash(secret ^ device ^ high, low) as u16).max(1)
}

#[inline(always)]
fn is_equal(a: &NextHop, b: &NextHop) -> bool {
    a.ifindex == b.ifindex && a.family == b.family && is_same(&a.address, &b.address)
}

// Compared word by word: a comparison of arrays compiles to a call of a byte loop.
#[inline(always)]
fn is_same(a: &[u32; 4], b: &[u32; 4]) -> bool {
    a[0] == b[0] && a[1] == b[1] && a[2] == b[2] && a[3] == b[3]
}
