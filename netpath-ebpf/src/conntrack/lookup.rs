//! Lookup of the flow that a packet belongs to.

use netpath_common::{
    flow::{
        BOTH_LOCAL, DELIVER, FlowKey, ICMP, ICMPV6, SEEN_ACK, SEEN_ANY, SEEN_FIN, SEEN_RST,
        SEEN_SYN, TCP,
    },
    hook::Hook,
    maps::Endpoint,
};

use super::{
    Entry,
    accounting::sustain,
    lifetime::{remove_flow, state},
};
use crate::{
    packet::{Packet, skb::Skb},
    parse::{ACK, FIN, Parsed, RST, SYN},
};

/// An entry, and the local endpoint of its direction.
pub type Found = (Entry, &'static Endpoint);

/// The entry that a packet at `hook` belongs to.
///
/// A flow is found only at the hooks that its packets pass, so packets with forged addresses match no flow. A flow whose
/// endpoint was removed is removed. A SYN on a finished flow (RFC 9293 §3.6.1) removes the flow if it comes from the side
/// that opened it, and restarts the flow if it comes from the other side.
#[inline(always)]
pub fn find(parsed: &Parsed, hook: Hook) -> Option<Found> {
    let entry = find_at(&parsed.key, parsed.opens_flow(), hook)?;
    live(parsed, entry)
}

/// Whether a packet from outside belongs to a flow of a sandbox. Changes nothing, unlike [`find`].
#[cfg(target_arch = "bpf")]
#[inline(always)]
pub fn is_delivered_from_outside(parsed: &Parsed) -> bool {
    find_at(&parsed.key, parsed.opens_flow(), Hook::UplinkIngress)
        .is_some_and(|entry| entry.endpoint().is_some())
}

/// The entry that a packet of a sandbox belongs to: of a flow that leaves the node, or of one to another sandbox. As [`find`].
#[inline(always)]
pub fn find_sent(parsed: &Parsed) -> Option<Found> {
    let entry = find_matching(&parsed.key, parsed.opens_flow())?;
    if entry.flags() & (DELIVER | BOTH_LOCAL) == DELIVER {
        return None;
    }
    live(parsed, entry)
}

/// The entry and its endpoint, unless the flow is removed; see [`find`].
#[inline(always)]
fn live(parsed: &Parsed, entry: Entry) -> Option<Found> {
    let key = &parsed.key;
    let Some(endpoint) = entry.endpoint() else {
        if !entry.is_of_node() {
            remove_flow(key);
        }
        return None;
    };
    if key.protocol == TCP && parsed.opens_flow() && state(key, entry).is_finished() {
        if entry.is_original() {
            remove_flow(key);
            return None;
        }
        restart(entry);
    }
    Some((entry, endpoint))
}

/// The entry of the direction opposite to the packet that an ICMP error quotes; `reply` is its key. The entry does not
/// change: an ICMP error neither refreshes nor removes a flow.
#[inline(always)]
pub fn find_replying(reply: &FlowKey, quote: &Parsed, hook: Hook) -> Option<Found> {
    let entry = find_at(reply, !quote.opens_flow(), hook)?;
    entry.endpoint().map(|endpoint| (entry, endpoint))
}

/// The entry with a key, if its packets pass `hook`. `opens` says whether a packet with that tuple opens a flow.
#[inline(always)]
fn find_at(key: &FlowKey, opens: bool, hook: Hook) -> Option<Entry> {
    let entry = find_matching(key, opens)?;
    (entry.flags() & (DELIVER | BOTH_LOCAL) == flags_at(hook)).then_some(entry)
}

/// The entry with a key. `opens` says whether a packet with that tuple opens a flow.
#[inline(always)]
fn find_matching(key: &FlowKey, opens: bool) -> Option<Entry> {
    let entry = Entry::find(key)?;
    // With identifier 0, an echo request and an echo reply in the same direction have equal tuples.
    let is_other_echo = matches!(key.protocol, ICMP | ICMPV6) && opens != entry.is_original();
    (!is_other_echo).then_some(entry)
}

/// The flags of entries whose packets pass a hook.
#[inline(always)]
fn flags_at(hook: Hook) -> u8 {
    match hook {
        Hook::UplinkIngress => DELIVER,
        Hook::UplinkEgress => 0,
        Hook::EndpointIngress | Hook::EndpointEgress => DELIVER | BOTH_LOCAL,
    }
}

/// Clears the seen flags of both entries. The translation remains, because the replying side uses it.
#[inline(never)]
fn restart(entry: Entry) {
    entry.clear_seen();
    if let Some(reverse) = entry.reverse() {
        reverse.clear_seen();
    }
}

/// Counts a packet in its entry, records its TCP flags, and determines whether the flow is sustained.
#[inline(always)]
pub fn record_packet(entry: Entry, skb: &Skb, parsed: &Parsed) {
    let bytes = skb.len().saturating_sub(parsed.l3) as u64;
    let may_be_sustained = entry.record_packet(seen_in(parsed), skb.segments(), bytes);
    if may_be_sustained && parsed.key.protocol != TCP {
        sustain(&parsed.key);
    }
}

/// The `SEEN_*` bits of a packet.
#[inline(always)]
pub(super) fn seen_in(parsed: &Parsed) -> u8 {
    let mut seen = SEEN_ANY;
    if parsed.key.protocol == TCP {
        let flags = parsed.tcp_flags;
        if flags & SYN != 0 {
            seen |= SEEN_SYN;
        }
        if flags & FIN != 0 {
            seen |= SEEN_FIN;
        }
        if flags & RST != 0 {
            seen |= SEEN_RST;
        } else if flags & (SYN | ACK) == ACK {
            seen |= SEEN_ACK;
        }
    }
    seen
}
