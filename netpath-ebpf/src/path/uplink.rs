//! At the uplinks: the border between sandboxes and the outside.

use netpath_common::{
    addr::Addr,
    flow::{Half, ICMP, ICMPV6, Kind, REPLY, TCP},
    maps::{ADDRESS_ENDPOINT, ADDRESS_HOST, INTERNAL, ROUTED},
    reason::Reason,
};

use super::{
    deliver,
    error::{self, Reporter},
    fragment, parse_skb, translate,
};
use crate::{
    conntrack::{self, Found, Side},
    maps,
    nat::{
        publish::{self, Client},
        source,
    },
    packet::skb::Skb,
    parse::{Parsed, Piece, Transport},
};

/// A packet from outside.
#[inline(always)]
pub fn ingress(skb: &mut Skb) -> Reason {
    let Some(parsed) = maps::parsed() else {
        return Reason::Malformed;
    };
    // Tagged frames belong to the VLAN device above this one.
    if skb.is_tagged() {
        return Reason::NotOurs;
    }
    match parse_skb(skb, parsed) {
        Ok(()) => {}
        // The kernel may know what it is, if it is for the host.
        Err(Reason::TooManyHeaders) if !is_inside(parsed.key.dst) => return Reason::NotOurs,
        Err(reason) => return reason,
    }
    let dst = parsed.key.dst;
    if dst.is_loopback() || parsed.key.src.is_loopback() {
        return Reason::Martian;
    }
    // Never translated (RFC 4291 §2.5.6): the answer would not find its way back.
    if dst.is_link_local() || parsed.key.src.is_link_local() {
        return if is_inside(dst) {
            Reason::Martian
        } else {
            Reason::NotOurs
        };
    }
    match parsed.transport {
        Transport::Flow => {
            if let Some((half, endpoint)) = conntrack::find(parsed, Side::Ingress) {
                // Lookup order is published port, then SNAT: a flow never hides a port that was published after it.
                if !is_shadowed(parsed, half) {
                    return deliver::translated(skb, parsed, half, endpoint, Side::Ingress);
                }
                conntrack::remove(&parsed.key);
            }
        }
        Transport::LaterFragment => {
            if let Some(known) = fragment::find(parsed, Side::Ingress) {
                return deliver::fragment(skb, parsed, &known, Side::Ingress);
            }
        }
        Transport::IcmpError => {
            let (side, reporter) = (Side::Ingress, Reporter::Outside);
            if let Some(reason) = error::deliver(skb, parsed, side, reporter, Reason::Inbound) {
                return reason;
            }
        }
        Transport::LinkControl | Transport::Other => {}
    }
    match maps::address(&dst) {
        Some(address) if matches!(address.kind, ADDRESS_ENDPOINT | ADDRESS_HOST) => {
            let reason = to_published(skb, parsed, address.kind == ADDRESS_ENDPOINT);
            if parsed.piece == Piece::First && matches!(reason, Reason::NotOurs) {
                fragment::passes(parsed, Side::Ingress);
            }
            reason
        }
        // A gateway; in a routed network it answers for itself.
        Some(_) if is_routed(dst) => Reason::NotOurs,
        Some(_) => Reason::DirectAccess,
        None if dst.is_multicast_or_broadcast() => Reason::NotOurs,
        None if maps::subnet(dst).is_some() => Reason::DirectAccess,
        None => Reason::NotOurs,
    }
}

/// A packet that leaves the node.
#[inline(always)]
pub fn egress(skb: &mut Skb) -> Reason {
    let Some(parsed) = maps::parsed() else {
        return Reason::Malformed;
    };
    let readable = parse_skb(skb, parsed);
    let src = parsed.key.src;
    let slot = match maps::address(&src) {
        Some(address) if address.kind == ADDRESS_ENDPOINT => address.slot,
        Some(address) if address.kind == ADDRESS_HOST => {
            return match readable {
                Ok(()) => from_host(skb, parsed),
                Err(_) => Reason::NotOurs,
            };
        }
        Some(_) if is_routed(src) => return Reason::NotOurs,
        Some(_) => return Reason::PrivateSource,
        None if maps::subnet(src).is_some() => return Reason::PrivateSource,
        None => return Reason::NotOurs,
    };
    // The host sends what it likes. What a sandbox sends was parsed when it came in, if a program was there to do it.
    if let Err(reason) = readable {
        return reason;
    }
    match parsed.transport {
        Transport::Flow => {}
        Transport::LaterFragment => return later_fragment(skb, parsed),
        Transport::IcmpError => {
            let (side, reporter) = (Side::Egress, Reporter::Sandbox);
            return error::pass(skb, parsed, side, reporter, Reason::Translated)
                .unwrap_or(Reason::IcmpErrorUntranslated);
        }
        Transport::LinkControl | Transport::Other => return Reason::UnknownProtocol,
    }
    let (half, _) = match conntrack::find(parsed, Side::Egress) {
        Some(found) => found,
        None => match open_outbound(skb, parsed, slot) {
            Ok(found) => found,
            Err(reason) => return reason,
        },
    };
    let id = match fragment::begin(skb, parsed, half, Side::Egress) {
        Ok(id) => id,
        Err(reason) => return reason,
    };
    conntrack::touch(half, skb, parsed);
    if translate(skb, parsed, half, id) {
        Reason::Translated
    } else {
        Reason::WriteFailed
    }
}

/// What the node itself sends is its own, but for what its stack reports about packets that were translated before it
/// got them.
#[inline(always)]
fn from_host(skb: &mut Skb, parsed: &Parsed) -> Reason {
    if parsed.key.protocol == ICMP || parsed.key.protocol == ICMPV6 {
        note_echo(skb, parsed);
    }
    if parsed.transport != Transport::IcmpError {
        return Reason::NotOurs;
    }
    let (side, reporter) = (Side::Egress, Reporter::Stack);
    error::pass(skb, parsed, side, reporter, Reason::Translated).unwrap_or(Reason::NotOurs)
}

/// Answers to an echo request of the node are the node's, whoever has used its identifier before. No socket could tell:
/// ping uses raw ones.
#[inline(never)]
fn note_echo(skb: &Skb, parsed: &Parsed) {
    // What was forwarded has been translated by another program.
    let is_own = skb.ingress_ifindex() == 0;
    if !is_own || parsed.transport != Transport::Flow || !parsed.opens_flow() {
        return;
    }
    let answer = parsed.key.reversed();
    maps::note_host_echo(&answer, conntrack::now());
    if maps::flow(&answer).is_some() {
        conntrack::remove(&answer);
    }
}

/// A fragment without ports, from a sandbox.
#[inline(never)]
fn later_fragment(skb: &mut Skb, parsed: &Parsed) -> Reason {
    match fragment::find(parsed, Side::Egress) {
        Some(known) if known.translate(skb, parsed) => Reason::Translated,
        Some(_) => Reason::WriteFailed,
        None if fragment::hold(skb, parsed, Side::Egress) => Reason::FragmentHeld,
        None => Reason::Fragment,
    }
}

/// Without a flow, to an address of the node or of a sandbox: to a published port, or not for us.
///
/// A sandbox's own address is for networks in gateway mode `routed`, whose published ports stand under it.
#[inline(always)]
fn to_published(skb: &mut Skb, parsed: &Parsed, to_sandbox: bool) -> Reason {
    let otherwise = if to_sandbox {
        Reason::DirectAccess
    } else if parsed.transport == Transport::IcmpError {
        Reason::IcmpError
    } else {
        Reason::NotOurs
    };
    if parsed.transport == Transport::LaterFragment {
        // It may belong to a datagram for a published port, whose first fragment comes after it.
        return match (to_sandbox, is_routed(parsed.key.dst)) {
            (false, _) if fragment::hold(skb, parsed, Side::Ingress) => Reason::FragmentEarly,
            (true, true) if fragment::hold(skb, parsed, Side::Ingress) => Reason::FragmentHeld,
            _ => otherwise,
        };
    }
    if !publish::is_candidate(parsed) {
        return otherwise;
    }
    let key = &parsed.key;
    let Some(target) = publish::find(&key.dst, key.dport.get(), key.protocol) else {
        return otherwise;
    };
    // An address of ours from outside is forged, and would lead answers astray. The stack's reverse-path check is not on
    // this way.
    if maps::address(&key.src).is_some()
        || maps::subnet(key.src).is_some()
        || key.src.is_unspecified()
        || key.src.is_multicast_or_broadcast()
    {
        return Reason::Martian;
    }
    if !to_sandbox && publish::is_for_socket(skb, parsed) {
        return Reason::NotOurs;
    }
    let mut kind = Kind::Dnat;
    if to_sandbox {
        if target.addr != key.dst
            || target.endpoint.flags & ROUTED == 0
            || target.endpoint.flags & INTERNAL != 0
        {
            return Reason::DirectAccess;
        }
        kind = Kind::None;
    }
    if let Err(reason) = publish::open(skb, parsed, Client::Outside, &target, kind) {
        return reason;
    }
    match conntrack::find(parsed, Side::Ingress) {
        Some((half, endpoint)) => deliver::translated(skb, parsed, half, endpoint, Side::Ingress),
        None => Reason::EndpointGone,
    }
}

#[inline(always)]
fn open_outbound(skb: &Skb, parsed: &Parsed, slot: u32) -> Result<Found, Reason> {
    let Some(endpoint) = maps::endpoint(slot) else {
        return Err(Reason::EndpointGone);
    };
    if endpoint.ifindex == 0 {
        return Err(Reason::EndpointGone);
    }
    if endpoint.flags & INTERNAL != 0 {
        return Err(Reason::Internal);
    }
    if !parsed.opens_flow() {
        return Err(Reason::NoFlow);
    }
    let Some(uplink) = maps::device(skb.ifindex()) else {
        return Err(Reason::NoUplink);
    };
    source::open_outbound(skb, parsed, slot, endpoint, uplink)?;
    // What was there already is a flow between sandboxes, over an address that the node has lost.
    conntrack::find(parsed, Side::Egress).ok_or(Reason::PrivateSource)
}

/// Whether a segment that opens a connection meets a flow that was opened from inside, on a port that has been
/// published since.
#[inline(always)]
fn is_shadowed(parsed: &Parsed, half: *mut Half) -> bool {
    // SAFETY: a map value, alive while the program runs; `role` never changes.
    let is_reply = unsafe { (*half).role == REPLY };
    is_reply
        && parsed.key.protocol == TCP
        && parsed.opens_flow()
        && publish::find(&parsed.key.dst, parsed.key.dport.get(), TCP).is_some()
}

/// Whether an address belongs to our networks.
#[inline(always)]
fn is_inside(addr: Addr) -> bool {
    match maps::address(&addr) {
        Some(address) => address.kind == ADDRESS_ENDPOINT,
        None => maps::subnet(addr).is_some(),
    }
}

/// Whether an address of ours lies in a routed network, whose addresses the outside may see.
#[inline(always)]
fn is_routed(addr: Addr) -> bool {
    match maps::subnet(addr) {
        Some(subnet) => subnet.flags & ROUTED != 0,
        None => false,
    }
}
