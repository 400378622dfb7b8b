//! Outer tuples that belong to no flow: of the node itself, and of other NATs of the node.
//!
//! An outer tuple belongs to the sender of the packet that left the node with it. Sockets that are connected or bound are
//! found by a socket lookup. Recorded are:
//!
//! - UDP that the node sends from a published port. Its socket may be unconnected, so a lookup would not tell a reply from a
//!   datagram to the published port.
//! - packets that the stack forwards with an address of the node as source: another NAT has translated them.
//! - echo requests, whose identifiers no socket lookup finds.
//!
//! A tuple is recorded by the tuple of its replies. If the map is full, new flows avoid the port.
//!
//! A TCP connection of the node or of another NAT may start with the outer tuple of an established connection of a sandbox,
//! because neither knows the ports of flows. `path::renumber` gives it another port.

use netpath_common::{
    flow::{FlowKey, ICMP, ICMPV6, TCP, UDP},
    maps::{Config, OuterTuple},
    reason::Reason,
};

use super::publish;
use crate::{
    conntrack::{self, Entry},
    context::Context,
    helpers, maps,
    parse::{FIN, Parsed, RST, SYN, Transport},
    stage::stage,
};

/// Recorded times are updated at most this often, in nanoseconds.
const REFRESH: u64 = 1_000_000_000;

/// Whether a packet that leaves the node with one of its addresses may have to be recorded. Most segments of the node's own
/// connections need not be.
#[inline(always)]
pub fn may_record(context: &Context) -> bool {
    let parsed = &*context.parsed;
    parsed.transport == Transport::Flow
        && (parsed.key.protocol != TCP || parsed.opens_flow() || context.skb.ingress_ifindex() != 0)
}

stage! {
    /// Records the outer tuple of a packet that leaves the node with one of its addresses and that no program has translated.
    /// A flow of a sandbox with the same outer tuple is removed. `None` if it is an established TCP connection: the packet
    /// must get another port.
    pub fn record(context: &mut Context) -> Option<Reason> {
        let is_forwarded = context.skb.ingress_ifindex() != 0;
        let otherwise = if is_forwarded { Reason::ForeignNat } else { Reason::NotOurs };
        let (opens, protocol) = (context.parsed.opens_flow(), context.parsed.key.protocol);
        let reply = context.parsed.key.reversed();
        if is_forwarded && is_translated_here(&reply, context.skb.ingress_ifindex()) {
            return Some(Reason::NotOurs);
        }
        if opens && !conntrack::yield_tuple(&reply) {
            return None;
        }
        if matches!(protocol, ICMP | ICMPV6) {
            if opens {
                maps::record_host_echo(&reply, helpers::now());
            }
            return Some(otherwise);
        }
        if !is_forwarded && (protocol != UDP || !publish::is_source_published(context)) {
            return Some(otherwise);
        }
        Some(if record_tuple(context.config, context.parsed, &reply) {
            otherwise
        } else {
            Reason::OuterTuplesFull
        })
    }
}

/// Whether a packet from the device `ingress` belongs to a flow of a sandbox on that bridge or veth device. An uplink program
/// has translated it, at a device above this one: a VLAN or macvlan device.
#[inline(always)]
fn is_translated_here(reply: &FlowKey, ingress: u32) -> bool {
    match Entry::find(reply).and_then(Entry::endpoint) {
        Some(endpoint) => endpoint.ifindex == ingress || endpoint.bridge == ingress,
        None => false,
    }
}

/// Records the tuple of the packet, or updates it. `false` if it could not be recorded; new flows then avoid its port.
#[inline(always)]
fn record_tuple(config: &Config, parsed: &Parsed, reply: &FlowKey) -> bool {
    let protocol = reply.protocol;
    let known = maps::outer_tuple(reply);
    let is_tcp = protocol == TCP;
    let mut ended = is_tcp && parsed.tcp_flags & (FIN | RST) != 0;
    if let Some(tuple) = known
        && !(is_tcp && parsed.tcp_flags & SYN != 0)
    {
        // SAFETY: a map value, readable while the program runs.
        ended |= unsafe { (*tuple).ended } != 0;
    }
    let limit = OuterTuple::limit(&config.timers, protocol, parsed.opens_flow(), ended);
    let expires = helpers::now().saturating_add(limit);
    if let Some(tuple) = known {
        // SAFETY: a map value, writable while the program runs; single stores.
        unsafe {
            if expires.abs_diff((*tuple).expires) > REFRESH {
                (*tuple).expires = expires;
            }
            if (*tuple).ended != ended as u32 {
                (*tuple).ended = ended as u32;
            }
        }
        return true;
    }
    // Replies to a packet to a multicast or broadcast address come from other addresses.
    let is_recorded = !reply.src.is_multicast_or_broadcast() && {
        let tuple = OuterTuple {
            expires,
            ended: ended as u32,
            pad: 0,
        };
        maps::record_outer_tuple(reply, &tuple)
    };
    if !is_recorded {
        maps::avoid_port(protocol, reply.dport.get(), expires);
    }
    is_recorded || reply.src.is_multicast_or_broadcast()
}
