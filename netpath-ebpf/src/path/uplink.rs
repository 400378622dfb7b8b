//! Programs at an interface of the node: packets between sandboxes and the outside.

use netpath_common::{
    hook::{Hook, LinkHeader},
    maps::AddressOwner,
    reason::Reason,
};

use super::{
    deny, destination,
    icmp_error::{self, Reporter},
    local, overlay, parse_from, parse_received, renumber, translate,
};
use crate::{
    conntrack::{self, Found},
    context::Context,
    fragment, maps,
    nat::{
        masquerade::{self, Opens},
        record, source_port,
    },
    parse::Transport,
    route,
    stage::stage,
};

/// Handles a packet from outside.
#[inline(always)]
pub fn ingress(context: &mut Context, header: LinkHeader) -> Reason {
    match parse_received(context, header) {
        Ok(()) => {}
        // Among others, a frame for a VLAN device above this uplink.
        Err(Reason::NotOurs) => return Reason::NotOurs,
        // The stack may accept a longer header chain in a packet to the host.
        Err(Reason::TooManyHeaders) if !destination::is_in_network(context.parsed.key.dst) => {
            return Reason::NotOurs;
        }
        Err(reason) => return reason,
    }
    if overlay::is_to_node(context) {
        return overlay::receive(context);
    }
    let (src, dst) = (context.parsed.key.src, context.parsed.key.dst);
    if dst.is_loopback() || src.is_loopback() {
        return Reason::Martian;
    }
    // Packets with link-local addresses are not forwarded (RFC 4291 §2.5.6), so they are not translated.
    if dst.is_link_local() || src.is_link_local() {
        return if destination::is_in_network(dst) {
            Reason::Martian
        } else {
            Reason::NotOurs
        };
    }
    local::handle_from_outside(context)
}

/// Handles a packet that leaves the node.
#[inline(always)]
pub fn egress(context: &mut Context, header: LinkHeader) -> Reason {
    // `endpoint_in` has translated it.
    if context.skb.take_note(context.config.secret) {
        return Reason::Translated;
    }
    let parsing = parse_from(context, header);
    let src = context.parsed.key.src;
    if let Some(slot) = maps::endpoint_slot(&src) {
        return from_sandbox(context, slot, parsing);
    }
    match maps::address_owner(&src) {
        Some(AddressOwner::Endpoint(_)) => Reason::EndpointGone,
        Some(AddressOwner::Host) => match parsing {
            Ok(()) => from_host(context),
            Err(_) => Reason::NotOurs,
        },
        Some(AddressOwner::Gateway) if destination::is_in_routed_network(src) => Reason::NotOurs,
        Some(AddressOwner::Gateway) => Reason::PrivateSource,
        None if maps::subnet(src).is_some() => Reason::PrivateSource,
        None => Reason::NotOurs,
    }
}

/// Translates a packet of the sandbox with the endpoint in `slot`, which was not translated before.
#[inline(always)]
fn from_sandbox(context: &mut Context, slot: u32, parsing: Result<(), Reason>) -> Reason {
    // The host may send any packet. A packet of a sandbox must be valid.
    if let Err(reason) = parsing {
        return reason;
    }
    // The stack may have translated the destination since the packet passed the endpoint.
    if deny::is_destination_denied(context) {
        return Reason::Denied;
    }
    let hook = Hook::UplinkEgress;
    match context.parsed.transport {
        Transport::Flow => {}
        Transport::LaterFragment => return translate_later_fragment(context),
        Transport::IcmpError => {
            return match icmp_error::translate_icmp_error(context, hook, Reporter::Sandbox) {
                Some(true) => Reason::Translated,
                Some(false) => Reason::WriteFailed,
                None => Reason::IcmpErrorUntranslated,
            };
        }
        Transport::LinkControl | Transport::Other => return Reason::UnknownProtocol,
    }
    let (entry, _) = match find_or_open(context, slot) {
        Ok(found) => found,
        Err(reason) => return reason,
    };
    let id = match fragment::note_first(context, hook) {
        Ok(id) => id,
        Err(reason) => return reason,
    };
    conntrack::record_packet(entry, &context.skb, context.parsed);
    if translate(context, entry, id) {
        Reason::Translated
    } else {
        Reason::WriteFailed
    }
}

/// Passes a packet with an address of the node as source, and records its outer tuple if necessary. If the stack reports an
/// ICMP error about a packet that a program has translated, the error is translated back.
#[inline(always)]
fn from_host(context: &mut Context) -> Reason {
    if renumber::may_apply(context)
        && let Some(reason) = renumber::translate_renumbered(context)
    {
        return reason;
    }
    if record::may_record(context) {
        return match record::record(context) {
            Some(reason) => reason,
            None => renumber::open_flow(context),
        };
    }
    if context.parsed.transport != Transport::IcmpError {
        return Reason::NotOurs;
    }
    match icmp_error::translate_icmp_error(context, Hook::UplinkEgress, Reporter::Stack) {
        Some(true) => Reason::Translated,
        Some(false) => Reason::WriteFailed,
        None => Reason::NotOurs,
    }
}

stage! {
    /// Translates or buffers a later fragment from a sandbox.
    fn translate_later_fragment(context: &mut Context) -> Reason {
        match fragment::find(context, Hook::UplinkEgress) {
            Some(known) if known.translate(context) => Reason::Translated,
            Some(_) => Reason::WriteFailed,
            None if fragment::buffer(context, Hook::UplinkEgress) => Reason::FragmentHeld,
            None => Reason::Fragment,
        }
    }
}

#[inline(always)]
fn find_or_open(context: &mut Context, slot: u32) -> Result<Found, Reason> {
    let Some(endpoint) = maps::endpoint(slot) else {
        return Err(Reason::EndpointGone);
    };
    let mut opens = Opens::First;
    if let Some((entry, endpoint)) = conntrack::find(context.parsed, Hook::UplinkEgress) {
        if !entry.is_masqueraded() || route::leaves_by(entry, context.skb.ifindex()) {
            return Ok((entry, endpoint));
        }
        // The stack may have chosen another device than the programs.
        if !route::look_up_source(context, endpoint.bridge) {
            return Err(Reason::NoUplink);
        }
        if context.scratch.route.found.source == entry.to().src {
            return Ok((entry, endpoint));
        }
        conntrack::remove_flow(&context.parsed.key);
        opens = Opens::Any;
    } else if !route::look_up_source(context, endpoint.bridge) {
        return Err(Reason::NoUplink);
    }
    masquerade::prepare_outbound(context, slot, opens)?;
    source_port::open_flow(context)?;
    // A flow that has this tuple and does not pass this hook is between two sandboxes. Its destination was an address of the
    // node when it was opened, and no longer is.
    conntrack::find(context.parsed, Hook::UplinkEgress).ok_or(Reason::PrivateSource)
}
