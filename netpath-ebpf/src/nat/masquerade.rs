//! Outbound flows: source translation.

use netpath_common::{
    addr::{Addr, Family},
    flow::Kind,
    maps::{Device, Endpoint, MASQUERADE, ROUTED},
    reason::Reason,
};

use crate::{
    context::{Context, LocalEnd, Opening, SourcePort},
    helpers::{self, RouteQuery},
};

/// Prepares in `scratch.flow` a flow from the endpoint in `slot` to the outside, at the uplink through which it leaves.
///
/// # Errors
/// The reason to drop the packet.
#[inline(never)]
pub fn prepare(
    context: &mut Context,
    slot: u32,
    endpoint: &'static Endpoint,
    uplink: &'static Device,
) -> Result<(), Reason> {
    let from = &context.parsed.key;
    context.scratch.flow.to.copy_from(from);
    let original = LocalEnd::sender(slot, endpoint);
    let reply = LocalEnd::receiver(slot, endpoint);
    let mut opening = Opening {
        original,
        reply,
        kind: Kind::None,
        source: SourcePort::Keep,
    };
    if endpoint.flags & (MASQUERADE | ROUTED) == MASQUERADE {
        let source = source_address(context, endpoint.bridge, uplink);
        if source.is_unspecified() {
            return Err(Reason::NoAddress);
        }
        context.scratch.flow.to.src = source;
        opening.kind = Kind::Snat;
        opening.source = SourcePort::Choose;
    }
    context.scratch.flow.opening = opening;
    Ok(())
}

/// The preferred source address of the route to the destination, or the address of the uplink if the kernel cannot look up
/// the preferred address or the route has none.
#[inline(never)]
fn source_address(context: &Context, bridge: u32, uplink: &'static Device) -> Addr {
    let (skb, parsed) = (&context.skb, &*context.parsed);
    let flags = context.config.source_flags;
    let query = RouteQuery {
        parsed,
        ifindex: bridge,
        flags,
    };
    let found = if flags == 0 {
        None
    } else {
        helpers::find_source(skb, &query, skb.ifindex())
    };
    match (found, parsed.family) {
        (Some(source), _) => source,
        (None, Family::V4) => uplink.v4,
        (None, Family::V6) => uplink.v6,
    }
}
