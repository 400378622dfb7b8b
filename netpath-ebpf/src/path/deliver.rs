//! Delivery of packets to a sandbox: translation, routing rewrite, redirect.

use netpath_common::{
    addr::Family,
    flow::{REWRITE_DST, REWRITE_SRC},
    hook::Hook,
    maps::Endpoint,
    reason::Reason,
};

use super::{destination::is_beyond, guard, rate, translate, wire_length};
use crate::{
    conntrack::{self, Entry},
    context::Context,
    fragment::{self, Known},
    packet::{Packet, skb::Skb},
    parse::{ETHERNET, Parsed},
    rewrite,
};

/// Translates a packet of a flow and delivers it to `endpoint` as a router would: with a decremented TTL and new MACs.
#[inline(never)]
pub fn translated(context: &mut Context, entry: Entry, endpoint: &Endpoint, hook: Hook) -> Reason {
    let id = match fragment::note_first(context, hook) {
        Ok(id) => id,
        Err(reason) => return reason,
    };
    conntrack::record_packet(entry, &context.skb, context.parsed);
    let slow = needs_stack(&context.skb, context.parsed, endpoint);
    if slow.is_none() && !apply_routing_rewrite(context, endpoint) {
        return Reason::WriteFailed;
    }
    if slow.is_some() && replies_locally(&context.skb, endpoint, hook, entry.flags()) {
        return finish(&context.skb, endpoint, slow, hook);
    }
    if slow.is_some() && is_beyond(endpoint, &entry.to().dst) {
        return Reason::Forwarded;
    }
    if !translate(context, entry, id) {
        return Reason::WriteFailed;
    }
    finish(&context.skb, endpoint, slow, hook)
}

/// Translates a later fragment of a translated datagram and delivers it.
#[inline(never)]
pub fn fragment(context: &mut Context, known: &Known, hook: Hook) -> Reason {
    let (skb, parsed) = (&context.skb, &*context.parsed);
    let endpoint = known.endpoint;
    let slow = needs_stack(skb, parsed, endpoint);
    // The stack's ICMPv6 error about this fragment would quote no ports, so it could not be translated. The sender receives
    // the error about the first fragment.
    if slow.is_some() && parsed.family == Family::V6 {
        return Reason::Fragment;
    }
    if slow.is_some() && replies_locally(skb, endpoint, hook, known.flags) {
        return finish(&context.skb, endpoint, slow, hook);
    }
    if slow.is_some() && is_beyond(endpoint, &context.scratch.fragment.known.to.dst) {
        return Reason::Forwarded;
    }
    if slow.is_none() && !apply_routing_rewrite(context, endpoint) {
        return Reason::WriteFailed;
    }
    if !known.translate(context) {
        return Reason::WriteFailed;
    }
    finish(&context.skb, endpoint, slow, hook)
}

/// Delivers an ICMP error that was translated.
#[inline(always)]
pub fn routed(context: &mut Context, endpoint: &Endpoint, hook: Hook) -> Reason {
    if context.parsed.ttl <= 1 {
        return Reason::TtlExceeded;
    }
    if !apply_routing_rewrite(context, endpoint) {
        return Reason::WriteFailed;
    }
    finish(&context.skb, endpoint, None, hook)
}

/// Delivers a frame within a network as its bridge would: only the destination MAC address may change.
#[inline(always)]
pub fn bridged(skb: &mut Skb, endpoint: &Endpoint) -> Reason {
    let Some(destination) = skb.header_mut::<[u8; 6]>(0) else {
        return Reason::Malformed;
    };
    *destination = endpoint.mac.0;
    rate::redirect(skb, endpoint);
    Reason::Sibling
}

/// The reason to pass the translated packet to the stack: TTL exceeded, or too big. The stack fragments it or sends an ICMP
/// error (RFC 1812 §5.3.1, RFC 1191, RFC 8201), which `path::icmp_error` translates. `None` if it can be redirected.
#[inline(always)]
fn needs_stack(skb: &Skb, parsed: &Parsed, endpoint: &Endpoint) -> Option<Reason> {
    let mtu = endpoint.mtu as usize;
    if parsed.ttl <= 1 {
        Some(Reason::TtlExceeded)
    } else if skb.len() > mtu + parsed.l3 && wire_length(skb, parsed) > mtu {
        Some(Reason::TooBig)
    } else {
        None
    }
}

/// Whether a packet is a reply from one network to another through an address of the node. Such a packet is passed to the
/// stack untranslated, because the stack drops received packets whose source is an address of the node, and translation
/// would set such a source. A packet addressed to the sandbox's own MAC address did not come through the gateway, so it is
/// not such a reply.
#[inline(always)]
fn replies_locally(skb: &Skb, endpoint: &Endpoint, hook: Hook, flags: u8) -> bool {
    hook == Hook::EndpointIngress
        && flags & (REWRITE_SRC | REWRITE_DST) == REWRITE_SRC
        && !guard::is_addressed_to(skb, &endpoint.mac)
}

/// Applies what routing changes: TTL and link header. `false` if the packet cannot be written.
#[inline(always)]
fn apply_routing_rewrite(context: &mut Context, endpoint: &Endpoint) -> bool {
    let (skb, parsed) = (&mut context.skb, &mut *context.parsed);
    // The sandbox's device is an Ethernet device.
    if parsed.l3 == 0 {
        if !skb.push_link_header(ETHERNET) || rewrite::set_ethertype(skb, parsed.family).is_none() {
            return false;
        }
        parsed.l3 = ETHERNET;
    }
    rewrite::decrement_ttl(skb, parsed).is_some()
        && rewrite::set_macs(skb, &endpoint.mac, &endpoint.gateway_mac).is_some()
}

#[inline(always)]
fn finish(skb: &Skb, endpoint: &Endpoint, slow: Option<Reason>, hook: Hook) -> Reason {
    match slow {
        Some(slow) => slow,
        None => {
            rate::redirect(skb, endpoint);
            match hook {
                Hook::UplinkIngress | Hook::UplinkEgress => Reason::Inbound,
                Hook::EndpointIngress | Hook::EndpointEgress => Reason::Hairpin,
            }
        }
    }
}
