//! Copying keys.

use netpath_common::flow::FlowKey;

/// Copies field by field: assigning the whole would call a byte loop.
#[inline(always)]
pub fn set(to: &mut FlowKey, from: &FlowKey) {
    to.src = from.src;
    to.dst = from.dst;
    to.sport = from.sport;
    to.dport = from.dport;
    to.protocol = from.protocol;
    to.pad = 0;
    to.pad2 = 0;
}

/// The same for the tuple of packets that answer.
#[inline(always)]
pub fn set_reversed(to: &mut FlowKey, from: &FlowKey) {
    to.src = from.dst;
    to.dst = from.src;
    to.sport = from.dport;
    to.dport = from.sport;
    to.protocol = from.protocol;
    to.pad = 0;
    to.pad2 = 0;
}
