//! Whether an outer tuple belongs to the node or to another NAT. `record` describes these tuples.

use netpath_common::flow::FlowKey;

use crate::{helpers, maps};

/// Whether the replies of an outer tuple belong to the node or to another NAT.
#[inline(always)]
pub fn is_used(reply: &FlowKey) -> bool {
    match maps::outer_tuple(reply) {
        // SAFETY: a map value, readable while the program runs.
        Some(tuple) => unsafe { (*tuple).expires > helpers::now() },
        None => false,
    }
}

/// Whether an outer port of TCP or UDP has had tuples that could not be recorded.
#[inline(always)]
pub fn is_avoided(protocol: u8, port: u16) -> bool {
    maps::avoided_until(protocol, port) > helpers::now()
}
