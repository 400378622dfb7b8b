//! At an endpoint: the border between a sandbox and its node.

use netpath_common::{
    flow::Kind,
    maps::{ADDRESS_ENDPOINT, Address, Device, Endpoint, ICC_OFF, INTERNAL, ROUTED, Role},
    reason::Reason,
};

use super::{
    deliver,
    error::{self, Reporter},
    fragment, guard, parse_skb, route,
};
use crate::{
    conntrack::{self, Side},
    maps,
    nat::publish::{self, Client},
    packet::skb::Skb,
    parse::{self, ETHERTYPE_ARP, Parsed, Piece, Transport},
};

/// What a sandbox sends.
#[inline(always)]
pub fn ingress(skb: &mut Skb) -> Reason {
    let Some((slot, endpoint)) = own(skb.ifindex()) else {
        return Reason::EndpointGone;
    };
    if skb.is_tagged() {
        return Reason::Tagged;
    }
    if !guard::own_mac(skb, endpoint) {
        return Reason::Spoofed;
    }
    let Some(parsed) = maps::parsed() else {
        return Reason::Malformed;
    };
    match parse_skb(skb, parsed) {
        Ok(()) => {}
        Err(Reason::NotOurs) => {
            return if parse::ethertype(skb) == Some(ETHERTYPE_ARP) {
                guard::arp(skb, endpoint)
            } else {
                Reason::UnknownProtocol
            };
        }
        Err(reason) => return reason,
    }
    if !guard::source(skb, parsed, endpoint) {
        return Reason::Spoofed;
    }
    let dst = parsed.key.dst;
    if parsed.transport == Transport::LinkControl {
        return Reason::LinkLocal;
    }
    if guard::stays_on_link(dst) {
        return if endpoint.flags & ICC_OFF != 0 {
            Reason::IccOff
        } else {
            Reason::LinkLocal
        };
    }
    if dst.is_loopback() || dst.is_unspecified() {
        return Reason::Martian;
    }
    match maps::address(&dst) {
        Some(address) => {
            let reason = inside(skb, parsed, slot, endpoint, address);
            if parsed.piece == Piece::First && matches!(reason, Reason::Sibling | Reason::ToHost) {
                fragment::passes(parsed, Side::Inside);
            }
            reason
        }
        // The bridge would carry it to whom it is addressed to, behind the back of what is decided here.
        None if !guard::to_gateway(skb, endpoint) => Reason::NotGateway,
        _ if endpoint.flags & INTERNAL != 0 => Reason::Internal,
        _ => route::outside(skb, parsed, endpoint),
    }
}

/// What the stack or the bridge delivers to a sandbox.
#[inline(always)]
pub fn egress(skb: &mut Skb) -> Reason {
    let ingress = skb.ingress_ifindex();
    if ingress == 0 {
        return from_host(skb);
    }
    let Some((_, endpoint)) = own(skb.ifindex()) else {
        return Reason::EndpointGone;
    };
    match maps::device(ingress) {
        // The stack forwards what was translated at the uplink and could not go on as it was.
        Some(device) if device.role == Role::Uplink as u32 && is_translated(skb) => {
            return Reason::FromHost;
        }
        // What a sibling may send to this one was decided when it sent; the bridge only carries the rest.
        Some(device) if is_sibling(device, ingress, endpoint) => return Reason::Bridged,
        _ => {}
    }
    match parse::ethertype(skb) {
        Some(ETHERTYPE_ARP) => Reason::LinkLocal,
        _ => Reason::DirectAccess,
    }
}

/// What the node itself sends to a sandbox is passed on; what its stack reports about a packet that was translated before
/// the stack got it is translated back.
#[inline(always)]
fn from_host(skb: &mut Skb) -> Reason {
    if !parse::may_be_icmp(skb) {
        return Reason::FromHost;
    }
    let Some(parsed) = maps::parsed() else {
        return Reason::FromHost;
    };
    if parse_skb(skb, parsed).is_err() || parsed.transport != Transport::IcmpError {
        return Reason::FromHost;
    }
    let (side, reporter) = (Side::Inside, Reporter::Stack);
    error::pass(skb, parsed, side, reporter, Reason::FromHost).unwrap_or(Reason::FromHost)
}

/// Whether a packet to a sandbox belongs to a flow. A later fragment tells nothing, and is of no use without its first one.
#[inline(always)]
fn is_translated(skb: &mut Skb) -> bool {
    let Some(parsed) = maps::parsed() else {
        return false;
    };
    if parse_skb(skb, parsed).is_err() {
        return false;
    }
    match parsed.transport {
        Transport::Flow => maps::flow(&parsed.key.reversed()).is_some(),
        Transport::LaterFragment => true,
        Transport::IcmpError | Transport::LinkControl | Transport::Other => false,
    }
}

#[inline(always)]
fn is_sibling(device: &Device, ifindex: u32, endpoint: &Endpoint) -> bool {
    device.role == Role::Endpoint as u32
        && matches!(maps::endpoint(device.index), Some(sender)
            if sender.ifindex == ifindex && sender.network == endpoint.network)
}

/// To an address of this node: a sandbox's, or the node's own.
#[inline(always)]
fn inside(
    skb: &mut Skb,
    parsed: &Parsed,
    slot: u32,
    endpoint: &'static Endpoint,
    address: &Address,
) -> Reason {
    match parsed.transport {
        Transport::Flow => {
            if let Some((half, receiver)) = conntrack::find(parsed, Side::Inside) {
                return deliver::translated(skb, parsed, half, receiver, Side::Inside);
            }
        }
        Transport::LaterFragment => {
            if let Some(known) = fragment::find(parsed, Side::Inside) {
                return deliver::fragment(skb, parsed, &known, Side::Inside);
            }
        }
        Transport::IcmpError => {
            let (side, reporter) = (Side::Inside, Reporter::Sandbox);
            if let Some(reason) = error::deliver(skb, parsed, side, reporter, Reason::Hairpin) {
                return reason;
            }
        }
        Transport::LinkControl | Transport::Other => {}
    }
    let to_sandbox = address.kind == ADDRESS_ENDPOINT;
    let is_later = parsed.transport == Transport::LaterFragment;
    if to_sandbox {
        let Some(receiver) = maps::endpoint(address.slot) else {
            return Reason::EndpointGone;
        };
        if receiver.ifindex == 0 {
            return Reason::EndpointGone;
        }
        if receiver.network == endpoint.network {
            if endpoint.flags & ICC_OFF != 0 {
                return Reason::IccOff;
            }
            if is_later {
                // It may answer what came through a published port, and then the receiver wants it from there.
                fragment::hold(skb, parsed, Side::Inside);
            }
            return deliver::bridged(skb, receiver);
        }
        if is_later && endpoint.flags & INTERNAL == 0 && fragment::hold(skb, parsed, Side::Inside) {
            return Reason::FragmentHeld;
        }
        if receiver.flags & ROUTED == 0 || (receiver.flags | endpoint.flags) & INTERNAL != 0 {
            return Reason::Isolated;
        }
    }
    let otherwise = if to_sandbox {
        Reason::Isolated
    } else if !guard::to_gateway(skb, endpoint) {
        Reason::NotGateway
    } else if guard::is_tunnel(parsed) {
        Reason::Tunnel
    } else {
        Reason::ToHost
    };
    if endpoint.flags & INTERNAL != 0 {
        return otherwise;
    }
    if is_later && matches!(otherwise, Reason::ToHost) && fragment::hold(skb, parsed, Side::Inside)
    {
        return Reason::FragmentEarly;
    }
    if !publish::is_candidate(parsed) {
        return otherwise;
    }
    let key = &parsed.key;
    let Some(target) = publish::find(&key.dst, key.dport.get(), key.protocol) else {
        return otherwise;
    };
    if !to_sandbox && publish::is_for_socket(skb, parsed) {
        return otherwise;
    }
    let mut kind = Kind::Hairpin;
    if to_sandbox {
        if target.addr != key.dst {
            return Reason::Isolated;
        }
        kind = Kind::None;
    }
    if let Err(reason) = publish::open(skb, parsed, Client::Sandbox(slot, endpoint), &target, kind)
    {
        return reason;
    }
    match conntrack::find(parsed, Side::Inside) {
        Some((half, receiver)) => deliver::translated(skb, parsed, half, receiver, Side::Inside),
        None => Reason::EndpointGone,
    }
}

/// The endpoint whose host's end a device is.
#[inline(always)]
fn own(ifindex: u32) -> Option<(u32, &'static Endpoint)> {
    let device = maps::device(ifindex)?;
    if device.role != Role::Endpoint as u32 {
        return None;
    }
    let endpoint = maps::endpoint(device.index)?;
    if endpoint.ifindex == ifindex {
        Some((device.index, endpoint))
    } else {
        None
    }
}
