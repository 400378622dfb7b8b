//! ICMP errors about translated packets.
//!
//! An error belongs to the flow of the quoted packet. The reversed tuple of the quote is the key of the entry for the other
//! direction. The reversed translation of that entry is the tuple that the quoted packet had before translation. This holds
//! for both directions, published ports, SNAT and hairpin flows. An error never changes a flow (RFC 4787 REQ-12, RFC 5382
//! REQ-10, RFC 5508 REQ-6).

use netpath_common::{
    flow::{REWRITE_DST, REWRITE_SRC},
    hook::Hook,
    maps::Endpoint,
    reason::Reason,
};

use super::{deliver, deny};
use crate::{
    conntrack::{self, Entry},
    context::Context,
    parse::{self, Transport},
    rewrite,
    stage::{enum_argument, stage},
};

/// The sender of the error.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Reporter {
    /// A router, or the peer.
    Outside,
    /// A sandbox: it may report only packets that it received.
    Sandbox,
    /// The stack of the node, about a packet that a program has translated.
    Stack,
}

stage! {
    /// Translates an error and delivers it to the sandbox that sent the quoted packet. `None` if the quoted packet belongs to
    /// no flow at this hook. The deny list applies to an error of the peer, not to one of a router.
    pub fn deliver_icmp_error(context: &mut Context, hook: Hook, reporter: Reporter) -> Option<Reason> {
        match translate(context, hook, reporter) {
            Outcome::NoFlow => None,
            Outcome::Failed => Some(Reason::WriteFailed),
            Outcome::Translated(_)
                if hook == Hook::UplinkIngress
                    && context.parsed.key.src == context.scratch.quote.key.dst
                    && deny::is_source_denied(context) =>
            {
                Some(Reason::Denied)
            }
            Outcome::Translated(endpoint) => Some(deliver::routed(context, endpoint, hook)),
        }
    }
}

stage! {
    /// Sets the source address of the route lookup for an error of a sandbox about a packet of a client to the address that the
    /// client used. `false` if the error is about no such packet.
    pub fn set_source_of_reply(context: &mut Context) -> bool {
        if !context.parsed.reports_packet() || !parse_quote(context) {
            return false;
        }
        let reply = context.scratch.quote.key.reversed();
        match Entry::find(&reply) {
            Some(entry) if entry.is_reply() => {
                context.scratch.route.source = entry.to().src;
                true
            }
            _ => false,
        }
    }
}

enum Outcome {
    NoFlow,
    Failed,
    /// The local endpoint of the flow.
    Translated(&'static Endpoint),
}

stage! {
    /// Translates an error in place. `Some(false)` if it cannot be written, `None` if it is about no flow at this hook.
    pub fn translate_icmp_error(context: &mut Context, hook: Hook, reporter: Reporter) -> Option<bool> {
        match translate(context, hook, reporter) {
            Outcome::NoFlow => None,
            Outcome::Failed => Some(false),
            Outcome::Translated(_) => Some(true),
        }
    }
}

stage! {
    /// Parses the packet that an error quotes, after making it linear if necessary. `false` if it is truncated or has too many
    /// headers.
    fn parse_quote(context: &mut Context) -> bool {
        let Context {
            skb,
            parsed,
            scratch,
            ..
        } = context;
        parse::parse_quote(skb, parsed, &mut scratch.quote).is_ok()
            || (skb.linearize() && parse::parse_quote(skb, parsed, &mut scratch.quote).is_ok())
    }
}

enum_argument!(Reporter: Outside, Sandbox; Stack);

#[inline(always)]
fn translate(context: &mut Context, hook: Hook, reporter: Reporter) -> Outcome {
    if !context.parsed.reports_packet() || !parse_quote(context) {
        return Outcome::NoFlow;
    }
    let Context {
        skb,
        parsed,
        scratch,
        ..
    } = context;
    let quote = &scratch.quote;
    // A quoted later fragment has no ports, so no flow can be found.
    if quote.transport != Transport::Flow || quote.key.src != parsed.key.dst {
        return Outcome::NoFlow;
    }
    let reply = quote.key.reversed();
    let Some((entry, endpoint)) = conntrack::find_replying(&reply, quote, hook) else {
        return Outcome::NoFlow;
    };
    let is_from_peer = parsed.key.src == reply.src;
    if reporter == Reporter::Sandbox && !is_from_peer {
        return Outcome::NoFlow;
    }
    let ends = if is_from_peer {
        REWRITE_SRC | REWRITE_DST
    } else {
        REWRITE_DST
    };
    match rewrite::translate_error(skb, parsed, quote, entry.to(), ends) {
        Some(()) => Outcome::Translated(endpoint),
        None => Outcome::Failed,
    }
}
