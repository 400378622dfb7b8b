//! ICMP errors about translated packets.
//!
//! An error belongs to the flow whose packets *answer* the quoted one: the quoted tuple reversed is the key of a half, and
//! that half's translation, reversed, is what the quoted packet was before it was translated. So both directions, published
//! ports, SNAT and hairpins are one case. An error never touches the flow (RFC 4787 REQ-12, RFC 5382 REQ-10,
//! RFC 5508 REQ-6).

use netpath_common::{
    flow::{REWRITE_DST, REWRITE_SRC},
    maps::Endpoint,
    reason::Reason,
};

use super::deliver;
use crate::{
    conntrack::{self, Side},
    maps,
    packet::skb::Skb,
    parse::{self, Parsed, Transport},
    rewrite,
};

/// Who reports the error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reporter {
    /// Anybody on the way, or the peer.
    Outside,
    /// A sandbox: it may only report about what it was sent.
    Sandbox,
    /// The node's own stack, about a packet that a program has translated for it.
    Stack,
}

/// Translates an error and delivers it into the sandbox that it is for. `None` if it is about no flow of this side.
#[inline(always)]
pub fn deliver(
    skb: &mut Skb,
    parsed: &Parsed,
    side: Side,
    reporter: Reporter,
    reason: Reason,
) -> Option<Reason> {
    translate(skb, parsed, side, reporter)
        .then(|endpoint| deliver::routed(skb, parsed, endpoint, reason))
}

/// Translates an error that leaves the way it goes. `None` if it is about no flow of this side.
#[inline(always)]
pub fn pass(
    skb: &mut Skb,
    parsed: &Parsed,
    side: Side,
    reporter: Reporter,
    reason: Reason,
) -> Option<Reason> {
    translate(skb, parsed, side, reporter).then(|_| reason)
}

enum Outcome {
    NoFlow,
    Failed,
    /// The endpoint at the flow's inner end.
    Translated(&'static Endpoint),
}

impl Outcome {
    #[inline(always)]
    fn then(self, go_on: impl FnOnce(&'static Endpoint) -> Reason) -> Option<Reason> {
        match self {
            Self::NoFlow => None,
            Self::Failed => Some(Reason::WriteFailed),
            Self::Translated(endpoint) => Some(go_on(endpoint)),
        }
    }
}

#[inline(never)]
fn translate(skb: &mut Skb, parsed: &Parsed, side: Side, reporter: Reporter) -> Outcome {
    let Some(quote) = maps::quote() else {
        return Outcome::NoFlow;
    };
    if !parsed.reports_packet() {
        return Outcome::NoFlow;
    }
    let mut result = parse::parse_quote(skb, parsed, quote);
    if result.is_err() && skb.linearize() {
        result = parse::parse_quote(skb, parsed, quote);
    }
    // A later fragment has no ports: what stands in their place must not be taken for them.
    if result.is_err() || quote.transport != Transport::Flow || quote.key.src != parsed.key.dst {
        return Outcome::NoFlow;
    }
    let answer = quote.key.reversed();
    let Some((half, endpoint)) = conntrack::find_answering(&answer, quote, side) else {
        return Outcome::NoFlow;
    };
    let by_peer = parsed.key.src == answer.src;
    if reporter == Reporter::Sandbox && !by_peer {
        return Outcome::NoFlow;
    }
    let ends = if by_peer {
        REWRITE_SRC | REWRITE_DST
    } else {
        REWRITE_DST
    };
    // SAFETY: a map value, alive while the program runs; `to` never changes.
    let to = unsafe { &(*half).to };
    match rewrite::translate_error(skb, parsed, quote, to, ends) {
        Some(()) => Outcome::Translated(endpoint),
        None => Outcome::Failed,
    }
}
