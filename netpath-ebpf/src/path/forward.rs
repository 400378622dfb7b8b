//! Packets from a sandbox to the outside.
//!
//! A packet of a flow is translated here and sent to its next hop, and the egress hook of the outgoing device lets it pass. Other
//! packets are translated at that hook: fragments, ICMP errors, and packets that the stack forwards.

use netpath_common::{hook::Hook, maps::Endpoint, reason::Reason};

use super::{icmp_error, overlay, translate, wire_length};
use crate::{
    conntrack::{self, Entry},
    context::Context,
    fragment, helpers,
    nat::{
        masquerade::{self, Opens},
        source_port,
    },
    parse::{FragmentPosition, Transport},
    rewrite, route,
};

/// Sends a packet of a flow that leaves the node. `None` if the flow no longer leaves the node by an interface.
#[inline(always)]
pub fn established(
    context: &mut Context,
    entry: Entry,
    slot: u32,
    endpoint: &Endpoint,
) -> Option<Reason> {
    if context.parsed.ttl <= 1 {
        return Some(Reason::TtlExceeded);
    }
    let length = wire_length(&context.skb, context.parsed) as u32;
    if let Some(hop) = route::kept(context, entry, length) {
        helpers::redirect_to_neighbour(&context.skb, &hop);
        return Some(transmit(context, entry));
    }
    match revalidate(context, entry, endpoint.bridge, length) {
        Ok(()) => {}
        Err(Reason::TooBig) => return Some(Reason::TooBig),
        Err(_) => return None,
    }
    Some(match send(context) {
        Some(reason) => reason,
        None => open(context, slot, Opens::Any),
    })
}

/// Sends a packet that belongs to no flow, or that is translated at the outgoing device, to the next hop.
#[inline(always)]
pub fn to_outside(context: &mut Context, slot: u32, endpoint: &Endpoint) -> Reason {
    // `route_packet` does not open the flow: on Linux 6.1 the stack frames of the nested calls would exceed the limit.
    route_packet(context, slot, endpoint).unwrap_or_else(|| open(context, slot, Opens::First))
}

/// Looks up the route of a packet, and sends it if it is translated at the outgoing device. `None` if a flow is to be opened.
#[inline(never)]
fn route_packet(context: &mut Context, slot: u32, endpoint: &Endpoint) -> Option<Reason> {
    // A packet to the MAC address of the gateway.
    if endpoint.is_overlay()
        && let Some(reason) = overlay::send(context, slot)
    {
        return Some(reason);
    }
    if context.parsed.ttl <= 1 {
        return Some(Reason::TtlExceeded);
    }
    let is_flow = is_translated_here(context);
    let source = context.parsed.key.src;
    context.scratch.route.source = source;
    if !is_flow {
        set_source_of_reply(context);
    }
    let length = wire_length(&context.skb, context.parsed) as u32;
    let flags = context.config.source_flags;
    if let Err(reason) = route::look_up_route(context, endpoint.bridge, length, flags) {
        return Some(reason);
    }
    if is_flow {
        return None;
    }
    if rewrite::decrement_ttl(&mut context.skb, context.parsed).is_none() {
        return Some(Reason::WriteFailed);
    }
    helpers::redirect_to_neighbour(&context.skb, &context.scratch.route.found.hop);
    Some(Reason::Outbound)
}

/// Whether a packet is translated before it is redirected.
#[inline(always)]
pub fn is_translated_here(context: &Context) -> bool {
    context.parsed.transport == Transport::Flow
        && context.parsed.fragment.position == FragmentPosition::Whole
}

/// Sets the source address of the lookup for a fragment of a reply, or for an ICMP error about a packet of a client, to the
/// address that the client used.
#[inline(never)]
fn set_source_of_reply(context: &mut Context) {
    let key = &context.parsed.key;
    let source = match context.parsed.transport {
        Transport::Flow => match Entry::find(key) {
            Some(entry) if entry.is_reply() => entry.to().src,
            _ => return,
        },
        Transport::LaterFragment => match fragment::source_of_reply(context, Hook::UplinkEgress) {
            Some(source) => source,
            None => return,
        },
        Transport::IcmpError => {
            icmp_error::set_source_of_reply(context);
            return;
        }
        Transport::LinkControl | Transport::Other => return,
    };
    context.scratch.route.source = source;
}

/// Looks up the route of a flow's packet again. If a masqueraded flow leaves by another device now, it has the wrong source
/// address and is removed.
#[inline(never)]
fn revalidate(
    context: &mut Context,
    entry: Entry,
    arrival: u32,
    length: u32,
) -> Result<(), Reason> {
    let is_masqueraded = entry.is_masqueraded();
    context.scratch.route.source = if is_masqueraded {
        context.parsed.key.src
    } else {
        entry.to().src
    };
    let flags = context.config.source_flags;
    route::look_up_route(context, arrival, length, flags)?;
    if is_masqueraded && route::has_moved(context, entry) {
        conntrack::remove_flow(&context.parsed.key);
    }
    Ok(())
}

/// Opens a flow whose route is known, and sends its packet.
#[inline(always)]
fn open(context: &mut Context, slot: u32, opens: Opens) -> Reason {
    if let Err(reason) = masquerade::prepare_outbound(context, slot, opens) {
        return reason;
    }
    if let Err(reason) = source_port::open_flow(context) {
        return reason;
    }
    // A flow that has this tuple and does not leave the node is between two sandboxes. Its destination was an address of the
    // node when it was opened, and no longer is.
    send(context).unwrap_or(Reason::PrivateSource)
}

/// Sends a packet of a flow by the route that was looked up, which the flow keeps. `None` if there is no flow that leaves the
/// node.
#[inline(never)]
fn send(context: &mut Context) -> Option<Reason> {
    let (entry, _) = conntrack::find(context.parsed, Hook::UplinkEgress)?;
    route::keep(context, entry);
    helpers::redirect_to_neighbour(&context.skb, &context.scratch.route.found.hop);
    Some(transmit(context, entry))
}

/// Translates a packet that was redirected.
#[inline(never)]
fn transmit(context: &mut Context, entry: Entry) -> Reason {
    conntrack::record_packet(entry, &context.skb, context.parsed);
    let id = context.parsed.fragment.id;
    if rewrite::decrement_ttl(&mut context.skb, context.parsed).is_none()
        || !translate(context, entry, id)
    {
        return Reason::WriteFailed;
    }
    context.skb.note(context.config.secret);
    Reason::Outbound
}
