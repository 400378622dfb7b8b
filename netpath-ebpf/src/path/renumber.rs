//! TCP connections of the node, or of another NAT, that start with the outer tuple of an established connection of a sandbox.
//!
//! Such a connection gets another source port at uplink egress, and its replies get the original one at uplink ingress. Both
//! entries of its flow have slot 0, which no endpoint has. There are few such connections, usually none. Their number is the
//! flow count of slot 0, so without any, no packet causes a flow lookup.

use netpath_common::{
    flow::{Kind, TCP},
    reason::Reason,
};

use crate::{
    conntrack::{self, Entry},
    context::{Context, LocalEnd, Opening, SourcePort},
    maps,
    parse::Transport,
    rewrite,
    stage::stage,
};

/// Prepares a flow with another source port in `scratch.flow`.
#[inline(always)]
pub fn prepare(context: &mut Context) {
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

/// Whether the packet may belong to a connection with another port.
#[inline(always)]
pub fn may_apply(context: &Context) -> bool {
    context.parsed.transport == Transport::Flow
        && context.parsed.key.protocol == TCP
        && maps::has_flows_of_node()
}

stage! {
    /// Translates a segment of a connection with another port, in either direction. `None` if it belongs to none.
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
