//! TCP connections of the node, or of another NAT, that start with the outer tuple of an established connection of a sandbox.
//!
//! Such a connection is renumbered: it gets another source port where it leaves the node, at uplink egress or at endpoint
//! egress, and its replies get the original port where they arrive. A connection of the node to a sandbox may have the tuple
//! of a flow that this sandbox has opened to its own published port, because the source of such a flow is the gateway's
//! address.
//!
//! A renumbered connection is a flow whose entries have slot 0, which no endpoint has. There are few of them, usually none.
//! Their number is the flow count of slot 0. While it is 0, no packet causes a lookup of these flows.

use netpath_common::{
    flow::{Kind, TCP},
    reason::Reason,
};

use crate::{
    conntrack::{self, Entry},
    context::{Context, LocalEnd, Opening, SourcePort},
    maps,
    nat::source_port,
    parse::Transport,
    rewrite,
    stage::stage,
};

/// Opens a flow with another source port, and translates the packet.
#[inline(always)]
pub fn open_flow(context: &mut Context) -> Reason {
    prepare(context);
    match source_port::open_flow(context) {
        Ok(()) => translate_renumbered(context).unwrap_or(Reason::NotOurs),
        Err(reason) => reason,
    }
}

/// Prepares a flow with another source port in `scratch.flow`.
#[inline(always)]
fn prepare(context: &mut Context) {
    let flow = &mut context.scratch.flow;
    flow.to.copy_from(&context.parsed.key);
    let (original, reply) = (LocalEnd::node(), LocalEnd::node());
    flow.opening = Opening {
        original,
        reply,
        kind: Kind::Snat,
        source: SourcePort::Choose,
        published: 0,
    };
}

/// Whether the packet may belong to a renumbered connection.
#[inline(always)]
pub fn may_apply(context: &Context) -> bool {
    context.parsed.transport == Transport::Flow
        && context.parsed.key.protocol == TCP
        && maps::has_flows_of_node()
}

stage! {
    /// Translates a segment of a renumbered connection, in either direction. `None` if it belongs to none.
    pub fn translate_renumbered(context: &mut Context) -> Option<Reason> {
        let key = &context.parsed.key;
        let entry = Entry::find(key)?;
        if !entry.is_of_node() {
            return None;
        }
        if entry.is_original() && context.parsed.opens_flow() && conntrack::is_finished(key, entry) {
            conntrack::remove_flow(key);
            return None;
        }
        conntrack::record_packet(entry, &context.skb, context.parsed);
        Some(match rewrite::translate(&mut context.skb, context.parsed, entry.to(), entry.flags()) {
            Some(()) => Reason::Translated,
            None => Reason::WriteFailed,
        })
    }
}
