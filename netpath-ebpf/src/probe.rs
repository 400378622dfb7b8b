//! Probes of the flags that the kernel's helpers support; see [`netpath_common::probe`].

use netpath_common::probe::{CHECKSUM, ProbeRequest, ROUTE, UNKNOWN_FLAG};

use crate::{helpers, packet::skb::Skb};

/// Calls the helper that the packet names with the given flags, and returns its result.
#[inline(always)]
pub fn run_probe(skb: &Skb) -> i32 {
    let Some(ProbeRequest { helper, flags }) = helpers::load_probe_request(skb) else {
        return UNKNOWN_FLAG;
    };
    match helper {
        ROUTE => helpers::probe_route(skb, flags),
        // The checksum field is the two bytes after the request.
        CHECKSUM => helpers::probe_checksum(skb, size_of::<ProbeRequest>(), flags),
        _ => UNKNOWN_FLAG,
    }
}
