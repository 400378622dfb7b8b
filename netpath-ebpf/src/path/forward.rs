//! Packets from a sandbox to the outside.

use netpath_common::{maps::Endpoint, reason::Reason};

use super::wire_length;
use crate::{
    context::Context,
    helpers::{self, Route, RouteQuery},
    maps, rewrite,
};

/// Sends a packet of a sandbox to the next hop through an uplink. Its source is translated there, at the egress hook.
#[inline(never)]
pub fn to_outside(context: &mut Context, endpoint: &Endpoint) -> Reason {
    let (skb, parsed) = (&mut context.skb, &*context.parsed);
    if parsed.ttl <= 1 {
        return Reason::TtlExceeded;
    }
    let query = RouteQuery {
        parsed,
        ifindex: endpoint.bridge,
        flags: context.config.route_flags,
    };
    let length = wire_length(skb, parsed);
    let (hop, is_too_big) = match helpers::find_next_hop(skb, &query, length) {
        Route::Found(hop) => (hop, false),
        Route::TooBig(hop) => (hop, true),
        // The stack finds no route either and sends an ICMP error.
        Route::Unreachable => return Reason::Unreachable,
        Route::Local => return Reason::ToHost,
        Route::Failed => return Reason::NoRoute,
    };
    match maps::device(hop.ifindex) {
        Some(device) if device.is_uplink() => {}
        _ => return Reason::NoUplink,
    }
    if is_too_big {
        return Reason::TooBig;
    }
    if rewrite::decrement_ttl(skb, parsed).is_none() {
        return Reason::WriteFailed;
    }
    helpers::redirect_to_neighbour(skb, &hop);
    Reason::Outbound
}
