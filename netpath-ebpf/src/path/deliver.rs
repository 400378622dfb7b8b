//! Into a sandbox.

use aya_ebpf::helpers::generated::bpf_redirect_peer;
use netpath_common::{
    flow::{Half, REWRITE_DST, REWRITE_SRC},
    maps::Endpoint,
    reason::Reason,
};

use super::{
    fragment::{self, Known},
    guard, translate, wire_length,
};
use crate::{
    conntrack::{self, Side},
    packet::{Packet, skb::Skb},
    parse::{ETHERNET, Parsed},
    rewrite,
};

/// Gives a packet of a flow its translation and delivers it to `endpoint` as its gateway would.
#[inline(never)]
pub fn translated(
    skb: &mut Skb,
    parsed: &Parsed,
    half: *mut Half,
    endpoint: &Endpoint,
    side: Side,
) -> Reason {
    let id = match fragment::begin(skb, parsed, half, side) {
        Ok(id) => id,
        Err(reason) => return reason,
    };
    conntrack::touch(half, skb, parsed);
    let slow = needs_stack(skb, parsed, endpoint);
    if slow.is_none() && !routes(skb, parsed, endpoint) {
        return Reason::WriteFailed;
    }
    // SAFETY: a map value, alive while the program runs; `flags` never change.
    let flags = unsafe { (*half).flags };
    if slow.is_some() && answers_inside(skb, endpoint, side, flags) {
        return finish(skb, endpoint, slow, reason(side));
    }
    if !translate(skb, parsed, half, id) {
        return Reason::WriteFailed;
    }
    finish(skb, endpoint, slow, reason(side))
}

/// The same for a later fragment of a datagram whose first one was translated.
#[inline(never)]
pub fn fragment(skb: &mut Skb, parsed: &Parsed, known: &Known, side: Side) -> Reason {
    let endpoint = known.endpoint;
    let slow = needs_stack(skb, parsed, endpoint);
    // The stack of IPv6 would report it without the ports that tell whose it is; the first fragment gets the answer.
    if slow.is_some() && !parsed.v4 {
        return Reason::Fragment;
    }
    if slow.is_some() && answers_inside(skb, endpoint, side, known.flags) {
        return finish(skb, endpoint, slow, reason(side));
    }
    if (slow.is_none() && !routes(skb, parsed, endpoint)) || !known.translate(skb, parsed) {
        return Reason::WriteFailed;
    }
    finish(skb, endpoint, slow, reason(side))
}

/// Delivers a packet that is translated already.
#[inline(always)]
pub fn routed(skb: &mut Skb, parsed: &Parsed, endpoint: &Endpoint, reason: Reason) -> Reason {
    if parsed.ttl <= 1 {
        return Reason::TtlExceeded;
    }
    if !routes(skb, parsed, endpoint) {
        return Reason::WriteFailed;
    }
    redirect(skb, endpoint);
    reason
}

/// Delivers a frame inside a network as its bridge would: nothing but the receiver's MAC address can differ.
#[inline(always)]
pub fn bridged(skb: &mut Skb, endpoint: &Endpoint) -> Reason {
    let Some(destination) = skb.header_mut::<[u8; 6]>(0) else {
        return Reason::Malformed;
    };
    *destination = endpoint.mac.0;
    redirect(skb, endpoint);
    Reason::Sibling
}

#[inline(always)]
fn reason(side: Side) -> Reason {
    if side == Side::Inside {
        Reason::Hairpin
    } else {
        Reason::Inbound
    }
}

/// Why the stack must forward a packet, once it is translated: it knows how to answer what cannot go on as it is
/// (RFC 1812 §5.3.1, RFC 1191, RFC 8201), and how to make fragments. Its answers are translated by `path::error`.
#[inline(always)]
fn needs_stack(skb: &Skb, parsed: &Parsed, endpoint: &Endpoint) -> Option<Reason> {
    let mtu = endpoint.mtu as usize;
    if parsed.ttl <= 1 {
        Some(Reason::TtlExceeded)
    } else if skb.len() > mtu + ETHERNET && wire_length(skb, parsed) > mtu {
        Some(Reason::TooBig)
    } else {
        None
    }
}

/// Whether a packet answers from one of our networks to another, by way of an address of the node. To the stack a source
/// that is its own is forged, and it would forward and answer the packet as it is just as well.
#[inline(always)]
fn answers_inside(skb: &Skb, endpoint: &Endpoint, side: Side, flags: u8) -> bool {
    side == Side::Inside
        && flags & (REWRITE_SRC | REWRITE_DST) == REWRITE_SRC
        && !guard::is_addressed_to(skb, &endpoint.mac)
}

/// What routing changes: TTL and MAC addresses.
#[inline(always)]
fn routes(skb: &mut Skb, parsed: &Parsed, endpoint: &Endpoint) -> bool {
    rewrite::decrement_ttl(skb, parsed).is_some()
        && rewrite::set_macs(skb, &endpoint.mac, &endpoint.gateway_mac).is_some()
}

#[inline(always)]
fn finish(skb: &Skb, endpoint: &Endpoint, slow: Option<Reason>, reason: Reason) -> Reason {
    match slow {
        Some(slow) => slow,
        None => {
            redirect(skb, endpoint);
            reason
        }
    }
}

#[inline(always)]
fn redirect(skb: &Skb, endpoint: &Endpoint) {
    // A frame that was not addressed to the host's end of the veth counts as another host's, and the receiver would drop
    // it. Linux 6.15 resets the type on the way into the other namespace (kernel commit c4327229948879814229b46aa26a),
    // older kernels do not. No kernel resets the mark.
    skb.set_for_this_host();
    skb.clear_mark();
    // SAFETY: plain helper call. It only notes the device; with flags of zero it cannot fail, and the device is
    // looked up when the program has returned `TCX_REDIRECT`.
    unsafe {
        bpf_redirect_peer(endpoint.ifindex, 0);
    }
}
