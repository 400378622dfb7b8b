//! ARP and neighbour discovery from a sandbox.
//!
//! A sandbox may announce only its own addresses. A request for the gateway or for a sandbox of the same network is answered
//! here, so that netfilter, which sees the frames of a bridge if `br_netfilter` is active, cannot drop it. Other messages
//! pass to the bridge: announcements, duplicate address detection, and requests for addresses that netpath does not know.

use netpath_common::{
    addr::{Addr, Family, MacAddr},
    maps::{AddressOwner, Endpoint, ICC_OFF, OVERLAY},
    reason::Reason,
};
use network_types::arp::ArpHdr;

use super::{guard::same_mac, link_address};
use crate::{
    context::Context,
    helpers, maps,
    packet::Packet,
    parse::{
        ETHERNET, FragmentPosition, ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_NEIGHBOUR_SOLICITATION,
        ICMPV6_REDIRECT, ICMPV6_ROUTER_ADVERTISEMENT, ICMPV6_ROUTER_SOLICITATION, Parsed,
    },
    rewrite,
    stage::stage,
};

/// Offset of the target address in a neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4).
const TARGET: usize = 8;
/// Offset of its options.
const OPTIONS: usize = 24;
/// Offset of the options of a router solicitation (RFC 4861 §4.1).
const ROUTER_OPTIONS: usize = 8;
/// Bytes of an option with a link address.
const LINK_OPTION: usize = 8;
/// Most options that are checked.
const MAX_OPTIONS: usize = 4;
/// The hop limit that proves that a message was not forwarded.
const HOP_LIMIT: u8 = 255;

stage! {
    /// Handles an ARP message of the endpoint in `slot`.
    pub fn handle_arp(context: &mut Context, slot: u32) -> Reason {
        match maps::endpoint(slot) {
            Some(endpoint) => arp(context, slot, endpoint),
            None => Reason::EndpointGone,
        }
    }
}

stage! {
    /// Handles ICMPv6 that is never forwarded, of the endpoint in `slot`.
    pub fn handle_discovery(context: &mut Context, slot: u32) -> Reason {
        match maps::endpoint(slot) {
            Some(endpoint) => discovery(context, slot, endpoint),
            None => Reason::EndpointGone,
        }
    }
}

/// The sender must be the sandbox (RFC 826; a probe has no sender address, RFC 5227).
#[inline(always)]
fn arp(context: &mut Context, slot: u32, endpoint: &Endpoint) -> Reason {
    let Some(arp) = context.skb.header::<ArpHdr>(ETHERNET) else {
        return Reason::Malformed;
    };
    let sender = u32::from_ne_bytes(arp.spa);
    let target = u32::from_ne_bytes(arp.tpa);
    let own = endpoint.v4.is_v4() && sender == endpoint.v4.raw_v4();
    if !same_mac(&arp.sha, &endpoint.mac.0) || !(own || sender == 0) {
        return Reason::Spoofed;
    }
    let is_request = arp.htype == [0, 1]
        && arp.ptype == [8, 0]
        && (arp.hlen, arp.plen) == (6, 4)
        && arp.oper == [0, 1];
    if !own || !is_request {
        return Reason::LinkLocal;
    }
    let target = Addr::from_raw_v4(target);
    let Some((mac, _)) = link_address_of(context, target, slot, endpoint) else {
        return Reason::LinkLocal;
    };
    let skb = &mut context.skb;
    if rewrite::answer_arp(skb, &mac).is_none()
        || rewrite::set_macs(skb, &endpoint.mac, &mac).is_none()
    {
        return Reason::WriteFailed;
    }
    helpers::redirect_to_peer(skb, endpoint.ifindex);
    Reason::Neighbour
}

#[inline(always)]
fn discovery(context: &mut Context, slot: u32, endpoint: &Endpoint) -> Reason {
    let source = context.parsed.key.src;
    // Neighbour discovery is never fragmented (RFC 6980).
    if context.parsed.fragment.position != FragmentPosition::Whole {
        return Reason::Spoofed;
    }
    // Duplicate address detection has no source address (RFC 4862 §5.4.2).
    if !source.is_unspecified()
        && let Err(reason) = check_own(context, slot, endpoint, source)
    {
        return reason;
    }
    let message = context.parsed.l3 + context.parsed.l4;
    match context.parsed.icmp_type {
        ICMPV6_ROUTER_ADVERTISEMENT | ICMPV6_REDIRECT => Reason::Spoofed,
        ICMPV6_NEIGHBOUR_ADVERTISEMENT if source.is_unspecified() => Reason::Spoofed,
        ICMPV6_NEIGHBOUR_ADVERTISEMENT => match target(context) {
            Some(target) => match check_own(context, slot, endpoint, target) {
                Ok(()) => check_options(context, message + OPTIONS, endpoint),
                Err(reason) => reason,
            },
            None => Reason::Spoofed,
        },
        ICMPV6_NEIGHBOUR_SOLICITATION => match target(context) {
            Some(target) => solicitation(context, slot, endpoint, target),
            None => Reason::Spoofed,
        },
        ICMPV6_ROUTER_SOLICITATION => check_options(context, message + ROUTER_OPTIONS, endpoint),
        _ => Reason::LinkLocal,
    }
}

#[inline(always)]
fn solicitation(context: &mut Context, slot: u32, endpoint: &Endpoint, target: Addr) -> Reason {
    if context.parsed.key.src.is_unspecified() {
        return match check_own(context, slot, endpoint, target) {
            Ok(()) => Reason::LinkLocal,
            Err(reason) => reason,
        };
    }
    let message = context.parsed.l3 + context.parsed.l4;
    let checked = check_options(context, message + OPTIONS, endpoint);
    // The reply is written over the request, so the request must have exactly the option that the reply has.
    let is_plain = context.parsed.ttl == HOP_LIMIT
        && context.parsed.end == context.parsed.l4 + OPTIONS + LINK_OPTION;
    if checked != Reason::LinkLocal || !is_plain {
        return checked;
    }
    let Some((mac, is_router)) = link_address_of(context, target, slot, endpoint) else {
        return Reason::LinkLocal;
    };
    let Context {
        skb,
        parsed,
        scratch,
        ..
    } = context;
    let reply = &mut scratch.flow.to;
    reply.copy_from(&parsed.key);
    reply.src = target;
    reply.dst = parsed.key.src;
    if rewrite::set_macs(skb, &endpoint.mac, &mac).is_none()
        || rewrite::answer_solicitation(skb, parsed, reply, &mac, is_router).is_none()
    {
        return Reason::WriteFailed;
    }
    helpers::redirect_to_peer(skb, endpoint.ifindex);
    Reason::Neighbour
}

/// Checks that an address is the sandbox's.
///
/// # Errors
/// The reason for the verdict if it is not.
#[inline(always)]
fn check_own(
    context: &mut Context,
    slot: u32,
    endpoint: &Endpoint,
    addr: Addr,
) -> Result<(), Reason> {
    if addr.is_link_local() {
        return if link_address::is_own(context, slot, endpoint, addr) {
            Ok(())
        } else {
            Err(Reason::LinkSpoofed)
        };
    }
    if endpoint.v6 == addr && !addr.is_unspecified() {
        Ok(())
    } else {
        Err(Reason::Spoofed)
    }
}

/// Checks that the link addresses in the options at `offset` are the sandbox's. [`Reason::LinkLocal`] if they are.
#[inline(always)]
fn check_options(context: &Context, offset: usize, endpoint: &Endpoint) -> Reason {
    let parsed: &Parsed = context.parsed;
    let end = parsed.l3 + parsed.end;
    let mut offset = offset;
    for _ in 0..MAX_OPTIONS {
        if offset + LINK_OPTION > end {
            return Reason::LinkLocal;
        }
        let Some([kind, length, a, b, c, d, e, f]) = context.skb.header::<[u8; 8]>(offset).copied()
        else {
            return Reason::Spoofed;
        };
        // The link address of the source or of the target (RFC 4861 §4.6.1). A length of zero is invalid.
        let is_foreign = matches!(kind, 1 | 2) && !same_mac(&[a, b, c, d, e, f], &endpoint.mac.0);
        if length == 0 || is_foreign {
            return Reason::Spoofed;
        }
        offset += (length as usize) << 3;
    }
    Reason::Spoofed
}

/// The target of a neighbour solicitation or advertisement.
#[inline(always)]
fn target(context: &Context) -> Option<Addr> {
    let offset = context.parsed.l3 + context.parsed.l4 + TARGET;
    let target = context.skb.header::<[u8; 16]>(offset)?;
    Some(Addr::from_octets(*target))
}

stage! {
    /// Finds the MAC address of the sandbox with the address in `scratch.link`, if it is on another node, for the endpoint in `slot`.
    /// The result is in `scratch.tunnel`. `false` if no other node has it.
    fn find_remote(context: &mut Context, slot: u32) -> bool {
        let Some(endpoint) = maps::endpoint(slot) else {
            return false;
        };
        let addr = context.scratch.link;
        match maps::remote(endpoint.network, addr) {
            Some(remote) => {
                context.scratch.tunnel.mac = remote.get().mac_of(addr);
                true
            }
            None => false,
        }
    }
}

/// The MAC address of the gateway or of a sandbox of the same network, also on another node, and whether it is a router. `None` if the endpoint in
/// `slot` must not learn it, or netpath does not know it.
#[inline(always)]
fn link_address_of(
    context: &mut Context,
    addr: Addr,
    slot: u32,
    endpoint: &Endpoint,
) -> Option<(MacAddr, bool)> {
    if addr.is_unspecified() {
        return None;
    }
    if addr == endpoint.gateway(addr.family()) {
        return Some((endpoint.gateway_mac, addr.family() == Family::V6));
    }
    let other = match maps::address_owner(&addr) {
        Some(AddressOwner::Endpoint(other)) => other,
        Some(_) => return None,
        None if endpoint.flags & (OVERLAY | ICC_OFF) == OVERLAY => {
            context.scratch.link = addr;
            return find_remote(context, slot).then_some((context.scratch.tunnel.mac, false));
        }
        None => return None,
    };
    let sibling = maps::endpoint(other)?;
    let is_reachable = other != slot
        && sibling.ifindex != 0
        && sibling.network == endpoint.network
        && endpoint.flags & ICC_OFF == 0;
    is_reachable.then_some((sibling.mac, false))
}
