//! The state of a flow, derived from what both directions have sent.

use super::{SEEN_ACK, SEEN_ANY, SEEN_FIN, SEEN_RST, SEEN_SYN, TCP};

/// The reply direction has sent a SYN and a later segment: simultaneous open, or a reopened connection (RFC 9293 §3.5).
const SEEN_SYN_ACK: u8 = SEEN_SYN | SEEN_ACK;

/// The state of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No reply yet (TCP: SYN sent; others: one direction seen).
    New,
    /// TCP: replied, handshake not finished.
    SynReceived,
    /// Both directions seen (TCP: handshake finished).
    Established,
    /// TCP: one side sent FIN.
    HalfClosed,
    /// TCP: both sides sent FIN.
    Closing,
    /// TCP: RST before the handshake was finished, and no later segment in that direction.
    Refused,
    /// TCP: RST after the handshake, and no later segment in that direction. The flow is kept until its idle limit,
    /// because the RST may be forged (RFC 7857 §2.2).
    Reset,
}

impl State {
    /// The state of a flow of `protocol` whose directions have sent `original` and `reply` (`SEEN_*`).
    #[inline(always)]
    pub const fn of(protocol: u8, original: u8, reply: u8) -> Self {
        if protocol != TCP {
            return if original & reply & SEEN_ANY != 0 {
                Self::Established
            } else {
                Self::New
            };
        }
        let both = original & reply;
        let either = original | reply;
        let opened = both & SEEN_ANY != 0
            && (original & SEEN_ACK != 0 || reply & SEEN_SYN_ACK == SEEN_SYN_ACK);
        if either & SEEN_RST != 0 {
            if opened || either & SEEN_FIN != 0 {
                Self::Reset
            } else {
                Self::Refused
            }
        } else if both & SEEN_FIN != 0 {
            Self::Closing
        } else if either & SEEN_FIN != 0 {
            Self::HalfClosed
        } else if both & SEEN_ANY == 0 {
            Self::New
        } else if opened {
            Self::Established
        } else {
            Self::SynReceived
        }
    }

    /// Whether the flow counts against the limit of half-open flows and may be evicted.
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::New | Self::SynReceived)
    }

    /// Whether the connection has ended: the same tuple may open another flow, and a full table may evict this one.
    #[inline(always)]
    pub const fn is_finished(self) -> bool {
        matches!(self, Self::Closing | Self::Refused | Self::Reset)
    }

    /// The name that `netpath map dump` shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::SynReceived => "syn-received",
            Self::Established => "established",
            Self::HalfClosed => "half-closed",
            Self::Closing => "closing",
            Self::Refused => "refused",
            Self::Reset => "reset",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::UDP;

    const HANDSHAKE: u8 = SEEN_ANY | SEEN_SYN | SEEN_ACK;

    #[test]
    fn tcp_state_follows_seen_segments() {
        let syn = SEEN_ANY | SEEN_SYN;
        let cases = [
            (syn, 0, State::New),
            (syn, syn, State::SynReceived),
            (HANDSHAKE, syn, State::Established),
            (syn, HANDSHAKE, State::Established),
            (0, syn, State::New),
            (0, HANDSHAKE, State::New),
            (SEEN_ANY | SEEN_ACK, 0, State::New),
            (SEEN_ANY | SEEN_ACK, SEEN_ANY | SEEN_ACK, State::Established),
            (syn, SEEN_ANY | SEEN_ACK, State::SynReceived),
            (HANDSHAKE, HANDSHAKE, State::Established),
            (HANDSHAKE | SEEN_FIN, HANDSHAKE, State::HalfClosed),
            (HANDSHAKE, HANDSHAKE | SEEN_FIN, State::HalfClosed),
            (HANDSHAKE | SEEN_FIN, HANDSHAKE | SEEN_FIN, State::Closing),
            (HANDSHAKE | SEEN_RST, HANDSHAKE, State::Reset),
            (HANDSHAKE, HANDSHAKE | SEEN_RST, State::Reset),
            (syn, SEEN_ANY | SEEN_RST, State::Refused),
            (syn | SEEN_RST, syn, State::Refused),
        ];
        for (original, reply, state) in cases {
            assert_eq!(
                State::of(TCP, original, reply),
                state,
                "{original:#b} {reply:#b}"
            );
        }
    }

    #[test]
    fn udp_flow_is_established_by_both_directions() {
        assert_eq!(State::of(UDP, SEEN_ANY, 0), State::New);
        assert_eq!(State::of(UDP, SEEN_ANY, SEEN_ANY), State::Established);
    }
}
