//! Flows: the tuple, the entry of each direction, the state, and the idle limits.
//!
//! # Two entries for each flow
//! A flow is two entries of the map `flows`, one for each direction. The key of an entry is the tuple that packets of its
//! direction carry before translation. An entry holds everything that a packet of its direction needs, so the fast path
//! does one lookup and writes only memory that the other direction does not write.
//! [`FlowEntry::to`] is the tuple after translation; reversed, it is the key of the reverse entry.
//!
//! The entry of the reply direction is inserted first, with `BPF_NOEXIST`. That insertion allocates the external port:
//! two programs on two CPUs cannot both insert it.
//!
//! # Removal
//! A flow is removed when its idle limit has passed ([`FlowEntry::last_seen`]), when the generation of its endpoint has
//! changed, or, while it is half-open, when a new flow of the same endpoint and direction needs its element of the ring
//! of half-open flows. A flow that is not sustained ([`is_sustained`]) may be removed when the table is full. An established
//! flow that is sustained is never removed to make room (RFC 6888 REQ-11).

mod entry;
mod key;
mod state;
mod timers;

#[cfg(test)]
mod state_model;

pub use entry::{
    BOTH_LOCAL, COUNTED, DELIVER, FlowEntry, Kind, ORIGINAL, REPLY, REWRITE_DST, REWRITE_SRC,
    SEEN_ACK, SEEN_ANY, SEEN_FIN, SEEN_RST, SEEN_SUSTAINED, SEEN_SYN, UNCOUNTED, UNTRACKED,
    is_sustained,
};
pub use key::{FlowKey, ICMP, ICMPV6, SCTP, TCP, UDP};
pub use state::State;
pub use timers::{SUSTAINED_AFTER, Timers};
