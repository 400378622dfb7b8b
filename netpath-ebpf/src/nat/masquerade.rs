//! Outbound flows: source translation.

use netpath_common::{
    flow::Kind,
    maps::{Endpoint, MASQUERADE, ROUTED},
    reason::Reason,
};

use super::publish;
use crate::{
    context::{Context, LocalEnd, Opening, SourcePort},
    maps,
    stage::{enum_argument, stage},
};

/// Which packets open an outbound flow.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Opens {
    /// The first packet of a flow.
    First,
    /// Any packet. The flow it belonged to had the source address of another interface. The peer answers a segment in the middle
    /// of a connection with a reset, so the connection ends.
    Any,
}

enum_argument!(Opens: First; Any);

stage! {
    /// Prepares in `scratch.flow` a flow from the endpoint in `slot` to the outside, with the source address in
    /// `scratch.route.found`.
    ///
    /// # Errors
    /// The reason to drop the packet.
    pub fn prepare_outbound(context: &mut Context, slot: u32, opens: Opens) -> Result<(), Reason> {
        let Some(endpoint) = maps::endpoint(slot) else {
            return Err(Reason::EndpointGone);
        };
        if endpoint.ifindex == 0 {
            return Err(Reason::EndpointGone);
        }
        if endpoint.is_internal() {
            return Err(Reason::InternalNetwork);
        }
        if opens == Opens::First && !context.parsed.opens_flow() {
            return Err(Reason::NoFlow);
        }
        prepare(context, slot, endpoint)
    }
}

#[inline(always)]
fn prepare(context: &mut Context, slot: u32, endpoint: &'static Endpoint) -> Result<(), Reason> {
    let from = &context.parsed.key;
    context.scratch.flow.to.copy_from(from);
    let mut opening = Opening {
        original: LocalEnd::sender(slot, endpoint),
        reply: LocalEnd::receiver(slot, endpoint),
        kind: Kind::None,
        source: SourcePort::Keep,
        published: 0,
    };
    if endpoint.flags & (MASQUERADE | ROUTED) == MASQUERADE {
        let source = context.scratch.route.found.source;
        if source.is_unspecified() {
            return Err(Reason::NoAddress);
        }
        context.scratch.flow.to.src = source;
        opening.kind = Kind::Snat;
        opening.source = SourcePort::Choose;
        // The published ports of the sandbox do not apply to packets that it forwards for others.
        if endpoint.address(context.parsed.family) == context.parsed.key.src {
            opening.published = publish::port_of_source(context, slot, endpoint, &source);
        }
    }
    context.scratch.flow.opening = opening;
    Ok(())
}
