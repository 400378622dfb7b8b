//! Translated flows: the tuple, and the state of each half.
//!
//! # Twin halves
//! A flow is two entries in one hash map, one for each direction, each keyed by the tuple its packets carry *before*
//! translation. A half holds everything a packet of its direction needs, so the fast path costs one lookup and writes
//! only to memory that the other direction does not touch. Where a half's packets arrive after translation is
//! [`Half::to`], and the key of the other half is `to` reversed: neither needs a pointer.
//!
//! The reply half is inserted first with `BPF_NOEXIST`. That insertion *is* the claim of the external port: two
//! programs on two CPUs cannot both hold it.
//!
//! # Who may delete
//! A flow goes when its timers say so (see [`Half::seen`]), when its endpoint's generation is over, or, while it is
//! half-open, when the half-open ring needs its place. An established flow is never removed to make room (RFC 6888
//! REQ-11).

use crate::addr::{Addr, Be16};

/// IPPROTO_ICMP.
pub const ICMP: u8 = 1;
/// IPPROTO_TCP.
pub const TCP: u8 = 6;
/// IPPROTO_UDP.
pub const UDP: u8 = 17;
/// IPPROTO_ICMPV6.
pub const ICMPV6: u8 = 58;
/// IPPROTO_SCTP.
pub const SCTP: u8 = 132;

/// The tuple that a packet carries.
///
/// For an ICMP echo request the identifier is the source port and the destination port is 0; for the reply it is the
/// other way round, so that reversing a request's tuple gives the reply's.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct FlowKey {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Source port or echo identifier.
    pub sport: Be16,
    /// Destination port.
    pub dport: Be16,
    /// Number of the transport protocol.
    pub protocol: u8,
    /// Zero.
    pub pad: u8,
    /// Zero. Not one array with `pad`: clearing an array of three calls a byte loop on the BPF target.
    pub pad2: u16,
}

impl FlowKey {
    /// The tuple of packets that answer.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            src: self.dst,
            dst: self.src,
            sport: self.dport,
            dport: self.sport,
            protocol: self.protocol,
            pad: 0,
            pad2: 0,
        }
    }
}

impl PartialEq for FlowKey {
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        self.src == other.src
            && self.dst == other.dst
            && self.sport == other.sport
            && self.dport == other.dport
            && self.protocol == other.protocol
    }
}

impl Eq for FlowKey {}

/// What translation a flow has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Tracked, not translated (gateway mode `routed`, or masquerading off).
    None = 0,
    /// From a sandbox to the outside with the node's address.
    Snat = 1,
    /// From the outside to a published port.
    Dnat = 2,
    /// From a sandbox to a published port of a sandbox of the same node.
    Hairpin = 3,
}

impl Kind {
    /// From the byte in the map; `None` for a byte that no program writes.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::None),
            1 => Some(Self::Snat),
            2 => Some(Self::Dnat),
            3 => Some(Self::Hairpin),
            _ => None,
        }
    }
}

/// [`Half::role`]: packets of the side that opened the flow.
pub const ORIGINAL: u8 = 0;
/// [`Half::role`]: packets of the side that answers.
pub const REPLY: u8 = 1;

/// [`Half::seen`]: a packet was seen at all.
pub const SEEN_ANY: u8 = 1 << 0;
/// [`Half::seen`]: TCP SYN.
pub const SEEN_SYN: u8 = 1 << 1;
/// [`Half::seen`]: a TCP segment with ACK and without SYN and RST, which proves that the handshake went on.
pub const SEEN_ACK: u8 = 1 << 2;
/// [`Half::seen`]: TCP FIN.
pub const SEEN_FIN: u8 = 1 << 3;
/// [`Half::seen`]: TCP RST since the last other segment of this direction.
pub const SEEN_RST: u8 = 1 << 4;

/// What a side has sent that opened the connection too, or opened it again (RFC 9293 §3.5), and went on.
const SEEN_SYN_ACK: u8 = SEEN_SYN | SEEN_ACK;

/// [`Half::flags`]: translated packets go to the sandbox of [`Half::endpoint`]; otherwise they leave the node.
pub const DELIVER: u8 = 1 << 0;
/// [`Half::flags`]: both ends are sandboxes of this node, so none of its packets comes or goes over an uplink.
pub const INSIDE: u8 = 1 << 3;
/// [`Half::flags`]: source address or port change.
pub const REWRITE_SRC: u8 = 1 << 1;
/// [`Half::flags`]: destination address or port change.
pub const REWRITE_DST: u8 = 1 << 2;

/// One direction of a flow. Written by programs, read by the daemon.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Half {
    /// The tuple after translation.
    pub to: FlowKey,
    /// Coarse monotonic nanoseconds of the last packet of this direction; of the creation if there was none.
    pub last_seen: u64,
    /// Coarse monotonic nanoseconds of the creation.
    pub created: u64,
    /// Packets; a GSO packet counts its segments.
    pub packets: u64,
    /// Bytes from the network header on.
    pub bytes: u64,
    /// Slot of the sandbox's endpoint at this direction's inner end.
    pub endpoint: u32,
    /// Generation that slot must have; otherwise the flow is over.
    pub generation: u32,
    /// A [`Kind`].
    pub kind: u8,
    /// [`ORIGINAL`] or [`REPLY`].
    pub role: u8,
    /// What this direction has sent: `SEEN_*`.
    pub seen: u8,
    /// `DELIVER`, `INSIDE`, `REWRITE_*`.
    pub flags: u8,
    /// Zero.
    pub pad: u32,
}

/// The state of a flow, derived from both halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// No answer yet (TCP: SYN sent; others: only one direction seen).
    New,
    /// TCP: answered, handshake not finished.
    SynReceived,
    /// Both directions seen (TCP: handshake finished).
    Established,
    /// TCP: one side sent FIN.
    HalfClosed,
    /// TCP: both sides sent FIN.
    Closing,
    /// TCP: RST seen before the handshake was finished, and nothing after it in that direction.
    Refused,
    /// TCP: RST seen later, and nothing after it in that direction. The flow lingers: a forged RST must not end it
    /// (RFC 7857 §2.2).
    Reset,
}

impl State {
    /// The state that what both directions have sent amounts to.
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

    /// Whether the flow counts against the half-open budget and may be evicted.
    #[inline(always)]
    pub const fn is_half_open(self) -> bool {
        matches!(self, Self::New | Self::SynReceived)
    }

    /// Whether its sides have said that nothing more comes: the same tuple may open another flow, and a full table may take
    /// its place.
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

/// How long a flow may be idle in each state, in nanoseconds. Defaults in [`Timers::DEFAULT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Timers {
    /// TCP before the first answer.
    pub tcp_syn_sent: u64,
    /// TCP between answer and end of the handshake.
    pub tcp_syn_received: u64,
    /// TCP established (RFC 5382 REQ-5: at least 2 h 4 min).
    pub tcp_established: u64,
    /// TCP after one FIN.
    pub tcp_half_closed: u64,
    /// TCP after both FINs.
    pub tcp_closing: u64,
    /// TCP after RST before the handshake was finished.
    pub tcp_refused: u64,
    /// TCP after RST later on: a forged one must not end an idle connection that goes on within that time (RFC 7857 §2.2
    /// says four minutes).
    pub tcp_reset: u64,
    /// UDP without an answer.
    pub udp_new: u64,
    /// UDP after an answer (RFC 4787 REQ-5: at least 120 s).
    pub udp_established: u64,
    /// ICMP echo (RFC 5508 REQ-2: at least 60 s).
    pub icmp: u64,
    /// Other protocols.
    pub other: u64,
    /// Fragments of a packet that is not complete yet (RFC 791 §3.2 suggests 15 s, RFC 8200 §4.5 says 60 s; Linux waits
    /// 30 s for IPv4).
    pub fragment: u64,
}

const SECOND: u64 = 1_000_000_000;

impl Timers {
    /// Defaults; `nat-requirements` rows T-5, U-5 and I-2 tell why.
    pub const DEFAULT: Self = Self {
        tcp_syn_sent: 120 * SECOND,
        tcp_syn_received: 60 * SECOND,
        tcp_established: 86_400 * SECOND,
        tcp_half_closed: 120 * SECOND,
        tcp_closing: 120 * SECOND,
        tcp_refused: 10 * SECOND,
        tcp_reset: 240 * SECOND,
        udp_new: 30 * SECOND,
        udp_established: 180 * SECOND,
        icmp: 60 * SECOND,
        other: 600 * SECOND,
        fragment: 30 * SECOND,
    };

    /// Every limit by the name that it has in the settings.
    pub const fn named(&self) -> [(&'static str, u64); 12] {
        [
            ("tcp_syn_sent", self.tcp_syn_sent),
            ("tcp_syn_received", self.tcp_syn_received),
            ("tcp_established", self.tcp_established),
            ("tcp_half_closed", self.tcp_half_closed),
            ("tcp_closing", self.tcp_closing),
            ("tcp_refused", self.tcp_refused),
            ("tcp_reset", self.tcp_reset),
            ("udp_new", self.udp_new),
            ("udp_established", self.udp_established),
            ("icmp", self.icmp),
            ("other", self.other),
            ("fragment", self.fragment),
        ]
    }

    /// The idle time after which a flow of this protocol and state is over.
    #[inline(always)]
    pub const fn idle_limit(&self, protocol: u8, state: State) -> u64 {
        match protocol {
            TCP => match state {
                State::New => self.tcp_syn_sent,
                State::SynReceived => self.tcp_syn_received,
                State::Established => self.tcp_established,
                State::HalfClosed => self.tcp_half_closed,
                State::Closing => self.tcp_closing,
                State::Refused => self.tcp_refused,
                State::Reset => self.tcp_reset,
            },
            UDP => match state {
                State::New => self.udp_new,
                _ => self.udp_established,
            },
            ICMP | ICMPV6 => self.icmp,
            _ => self.other,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        Self::DEFAULT
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;

    const HANDSHAKE: u8 = SEEN_ANY | SEEN_SYN | SEEN_ACK;

    #[test]
    fn tcp_states_follow_what_was_seen() {
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
    fn others_need_both_directions() {
        assert_eq!(State::of(UDP, SEEN_ANY, 0), State::New);
        assert_eq!(State::of(UDP, SEEN_ANY, SEEN_ANY), State::Established);
    }

    #[test]
    fn defaults_keep_the_minima_of_the_rfcs() {
        let timers = Timers::DEFAULT;
        assert!(
            timers.tcp_established >= (2 * 60 + 4) * 60 * SECOND,
            "RFC 5382 REQ-5"
        );
        assert!(timers.tcp_reset >= 240 * SECOND, "RFC 7857 §2.2");
        assert!(timers.udp_established >= 120 * SECOND, "RFC 4787 REQ-5");
        assert!(timers.icmp >= 60 * SECOND, "RFC 5508 REQ-2");
    }

    #[test]
    fn reversing_twice_is_the_same_tuple() {
        let key = FlowKey {
            src: Addr::from_raw_v4(1),
            dst: Addr::from_raw_v4(2),
            sport: Be16::new(3),
            dport: Be16::new(4),
            protocol: TCP,
            pad: 0,
            pad2: 0,
        };
        assert!(key.reversed() != key);
        assert!(key.reversed().reversed() == key);
    }
}
