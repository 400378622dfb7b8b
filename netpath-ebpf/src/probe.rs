//! Probes of the flags that the kernel's helpers support; see [`netpath_common::probe`].

use netpath_common::probe::{CHECKSUM, Question, ROUTE, UNKNOWN_FLAG};

use crate::{helpers, packet::skb::Skb};

/// Calls the helper that the packet names with the given flags, and returns its result.
#[inline(always)]
pub fn answer_question(skb: &Skb) -> i32 {
    let Some(Question { helper, flags }) = helpers::load_question(skb) else {
        return UNKNOWN_FLAG;
    };
    match helper {
        ROUTE => helpers::probe_route(skb, flags),
        // The checksum is the two bytes after the question.
        CHECKSUM => helpers::probe_checksum(skb, size_of::<Question>(), flags),
        _ => UNKNOWN_FLAG,
    }
}
