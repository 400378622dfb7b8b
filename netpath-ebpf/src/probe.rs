//! Asks the running kernel which flags its helpers support; see [`netpath_common::probe`].

use netpath_common::probe::{CHECKSUM, Question, ROUTE, UNKNOWN_FLAG};

use crate::{helpers, packet::skb::Skb};

/// Makes the call that the packet names and returns its result.
#[inline(always)]
pub fn answer_question(skb: &Skb) -> i32 {
    let Some(Question { helper, flags }) = helpers::load_question(skb) else {
        return UNKNOWN_FLAG;
    };
    match helper {
        ROUTE => helpers::probe_route(skb, flags),
        // Two bytes after the question.
        CHECKSUM => helpers::probe_checksum(skb, size_of::<Question>(), flags),
        _ => UNKNOWN_FLAG,
    }
}
