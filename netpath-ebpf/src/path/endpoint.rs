//! Programs at the veth pair of an endpoint: packets between a sandbox and its node.

use netpath_common::{
    flow::{ICMP, ICMPV6, TCP, UDP},
    hook::{Hook, LinkHeader},
    maps::{AddressOwner, Device, Endpoint, ICC_OFF},
    reason::Reason,
};

use super::{
    deliver, deny,
    destination::{Destination, Subnets, classify},
    forward, forwarded, guard,
    icmp_error::{self, Reporter},
    local, neighbour, overlay, parse_packet, parse_received, rate, renumber,
};
use crate::{
    conntrack::{self, Entry},
    context::Context,
    maps,
    nat::record,
    parse::{self, ETHERTYPE_ARP, Transport},
    stage::stage,
};

/// Handles a packet from the sandbox.
#[inline(always)]
pub fn ingress(context: &mut Context) -> Reason {
    context.scratch.is_beyond = false;
    let reason = from_sandbox(context);
    forwarded::keep_from_stack(context, reason)
}

#[inline(always)]
fn from_sandbox(context: &mut Context) -> Reason {
    let Some((slot, endpoint)) = endpoint_at(context.skb.ifindex()) else {
        return Reason::EndpointGone;
    };
    if !guard::has_own_mac(&context.skb, endpoint) {
        return Reason::Spoofed;
    }
    match parse_received(context, LinkHeader::Ethernet) {
        Ok(()) => {}
        Err(Reason::NotOurs) if context.skb.is_tagged() => return Reason::Tagged,
        Err(Reason::NotOurs) => {
            return if parse::ethertype(&context.skb) == Some(ETHERTYPE_ARP) {
                neighbour::handle_arp(context, slot)
            } else {
                Reason::UnknownProtocol
            };
        }
        Err(reason) => return reason,
    }
    if context.parsed.transport == Transport::LinkControl {
        return neighbour::handle_discovery(context, slot);
    }
    if endpoint.is_limited() && !rate::is_within(context, slot) {
        return Reason::RateExceeded;
    }
    let source = match guard::check_source(context, slot, endpoint) {
        Err(Reason::Spoofed) if endpoint.is_forwarding() => forwarded::check_source(context, slot),
        result => result,
    };
    if let Err(reason) = source
        && !is_reply_of_other_endpoint(context, slot)
    {
        return reason;
    }
    let dst = context.parsed.key.dst;
    if dst.is_loopback() || dst.is_unspecified() {
        return Reason::Martian;
    }
    if overlay::may_concern(context, endpoint)
        && let Some(reason) = overlay::send(context, slot)
    {
        return reason;
    }
    if let Some(reason) = of_flow(context, slot, endpoint) {
        return reason;
    }
    if let Err(reason) = source {
        return reason;
    }
    match classify(context.parsed.key.dst, Subnets::Ignore) {
        Destination::Link if endpoint.flags & ICC_OFF != 0 => Reason::IccOff,
        Destination::Link => Reason::LinkLocal,
        Destination::Sandbox(_) | Destination::Host | Destination::Gateway => {
            to_local(context, slot, endpoint)
        }
        Destination::Subnet | Destination::Outside => to_outside(context, slot, endpoint),
    }
}

/// Handles a packet to an unused address of a network, or to the outside.
#[inline(always)]
fn to_outside(context: &mut Context, slot: u32, endpoint: &'static Endpoint) -> Reason {
    // A frame to a MAC address other than the gateway's would be delivered by the bridge without these checks.
    if !guard::is_to_gateway(&context.skb, endpoint) {
        not_to_gateway(context, slot)
    } else if endpoint.is_internal() {
        Reason::InternalNetwork
    } else if deny::is_destination_denied(context) {
        Reason::Denied
    } else if !forwarded::may_leave(context, endpoint) {
        Reason::Forwarded
    } else {
        forward::to_outside(context, slot, endpoint)
    }
}

/// Handles a packet to an address of the node or of a sandbox. It may be a reply of a renumbered connection.
#[inline(always)]
fn to_local(context: &mut Context, slot: u32, endpoint: &'static Endpoint) -> Reason {
    if renumber::may_apply(context)
        && guard::is_to_gateway(&context.skb, endpoint)
        && let Some(reason) = renumber::translate_renumbered(context)
    {
        return reason;
    }
    match local::handle_from_sandbox(context, slot) {
        Reason::NotGateway => to_forwarder(context, slot),
        reason => reason,
    }
}

/// Handles a packet to a MAC address other than the gateway's, with a destination that only a router can reach.
#[inline(always)]
fn to_forwarder(context: &mut Context, slot: u32) -> Reason {
    forwarded::to_forwarder(context, slot).unwrap_or(Reason::NotGateway)
}

stage! {
    /// Handles a packet to an unused address of a network, or to the outside, that is not addressed to the gateway.
    fn not_to_gateway(context: &mut Context, slot: u32) -> Reason {
        let Some(endpoint) = maps::endpoint(slot) else {
            return Reason::EndpointGone;
        };
        match guard::is_broadcast(context.parsed.key.dst, endpoint) {
            true if endpoint.flags & ICC_OFF != 0 => Reason::IccOff,
            true => Reason::LinkLocal,
            false => to_forwarder(context, slot),
        }
    }
}

stage! {
    /// Whether a packet is a reply with the address of another endpoint of the same sandbox. A sandbox in several networks sends
    /// replies to clients outside by its default route, whichever network the request came through.
    fn is_reply_of_other_endpoint(context: &mut Context, slot: u32) -> bool {
        let Some(endpoint) = maps::endpoint(slot) else {
            return false;
        };
        if !endpoint.is_multihomed() || context.parsed.transport != Transport::Flow {
            return false;
        }
        let key = &context.parsed.key;
        let Some(AddressOwner::Endpoint(owner)) = maps::address_owner(&key.src) else {
            return false;
        };
        let Some(other) = maps::endpoint(owner) else {
            return false;
        };
        let is_reply = matches!(Entry::find(key), Some(entry) if entry.is_reply() && entry.slot().0 == owner);
        is_reply && other.sandbox.is_same(&endpoint.sandbox)
    }
}

/// Handles a packet of a flow. `None` if it belongs to none, or if its destination must be classified again.
///
/// Not inlined: the frame of `endpoint_in` would be too large for the stack of Linux 6.1.
#[inline(never)]
fn of_flow(context: &mut Context, slot: u32, endpoint: &'static Endpoint) -> Option<Reason> {
    if context.parsed.transport != Transport::Flow {
        return None;
    }
    let (entry, receiver) = conntrack::find_sent(context.parsed)?;
    // Hosts beyond two sandboxes may have the same address.
    if context.scratch.is_beyond && (entry.is_delivered() || entry.slot().0 != slot) {
        return Some(Reason::Forwarded);
    }
    if entry.is_delivered() {
        return Some(deliver::translated(
            context,
            entry,
            receiver,
            Hook::EndpointIngress,
        ));
    }
    if !forward::is_translated_here(context)
        || endpoint.is_internal()
        || !guard::is_to_gateway(&context.skb, endpoint)
    {
        return None;
    }
    if deny::is_destination_denied(context) {
        return Some(Reason::Denied);
    }
    forward::established(context, entry, slot, endpoint)
}

/// Handles a packet from the stack or the bridge to the sandbox.
#[inline(always)]
pub fn egress(context: &mut Context) -> Reason {
    // A program at another hook has decided about the packet and redirected it.
    if context.skb.take_note(context.config.secret) {
        return Reason::Queued;
    }
    let sender = context.skb.ingress_ifindex();
    if sender == 0 {
        return from_host(context);
    }
    let Some((_, endpoint)) = endpoint_at(context.skb.ifindex()) else {
        return Reason::EndpointGone;
    };
    match maps::device(sender) {
        // The interface program translated it and passed it to the stack, because it could not be redirected.
        Some(device) if device.is_interface() && is_translated(context) => return Reason::FromHost,
        // A frame from another endpoint of the network, which was checked at that endpoint.
        Some(device) if is_sibling(device, sender, endpoint) => return Reason::Bridged,
        _ => {}
    }
    match parse::ethertype(&context.skb) {
        Some(ETHERTYPE_ARP) => Reason::LinkLocal,
        _ => Reason::DirectAccess,
    }
}

/// Passes a packet of the node itself, and records the tuple of a datagram from a published port. A connection with the tuple
/// of a flow gets another port. If the stack reports an ICMP error about a packet that a program has translated, the error is
/// translated back.
#[inline(always)]
fn from_host(context: &mut Context) -> Reason {
    let is_relevant = matches!(
        parse::first_protocol(&context.skb),
        Some(TCP | UDP | ICMP | ICMPV6)
    );
    if !is_relevant || parse_packet(context).is_err() {
        return Reason::FromHost;
    }
    match context.parsed.transport {
        Transport::Flow => of_host_connection(context),
        Transport::IcmpError => {
            let hook = Hook::EndpointEgress;
            match icmp_error::translate_icmp_error(context, hook, Reporter::Stack) {
                Some(false) => Reason::WriteFailed,
                Some(true) | None => Reason::FromHost,
            }
        }
        Transport::LaterFragment | Transport::LinkControl | Transport::Other => Reason::FromHost,
    }
}

/// Passes a packet with ports or an echo identifier of the node itself.
#[inline(always)]
fn of_host_connection(context: &mut Context) -> Reason {
    if renumber::may_apply(context)
        && let Some(reason) = renumber::translate_renumbered(context)
    {
        return reason;
    }
    // No flow between sandboxes has an echo identifier.
    if !matches!(context.parsed.key.protocol, TCP | UDP) || !context.parsed.opens_flow() {
        return Reason::FromHost;
    }
    match record::record(context) {
        Some(Reason::OuterTuplesFull) => Reason::OuterTuplesFull,
        Some(_) => Reason::FromHost,
        None => renumber::open_flow(context),
    }
}

/// Whether a packet to a sandbox belongs to a flow. `true` for every later fragment, which has no ports.
#[inline(always)]
fn is_translated(context: &mut Context) -> bool {
    if parse_packet(context).is_err() {
        return false;
    }
    match context.parsed.transport {
        Transport::Flow => Entry::find(&context.parsed.key.reversed()).is_some(),
        Transport::LaterFragment => true,
        Transport::IcmpError | Transport::LinkControl | Transport::Other => false,
    }
}

/// Whether a device belongs to another endpoint of the same network.
#[inline(always)]
fn is_sibling(device: &Device, ifindex: u32, endpoint: &Endpoint) -> bool {
    device.is_endpoint()
        && matches!(maps::endpoint(device.index), Some(sender)
            if sender.ifindex == ifindex && sender.network == endpoint.network)
}

/// The slot and the endpoint of the veth device with an interface index.
#[inline(always)]
fn endpoint_at(ifindex: u32) -> Option<(u32, &'static Endpoint)> {
    let device = maps::device(ifindex)?;
    if !device.is_endpoint() {
        return None;
    }
    let endpoint = maps::endpoint(device.index)?;
    if endpoint.ifindex == ifindex {
        Some((device.index, endpoint))
    } else {
        None
    }
}
