//! [`State::of`] compared with a reference state machine.
//!
//! [`State::of`] derives the state from everything that both sides have sent. The reference machine takes one segment after
//! the other, as the tables of RFC 9293 and RFC 7857 §2 do.

extern crate std;

use std::vec::Vec;

use proptest::{collection::vec, prelude::*};

use super::{
    ICMP, ICMPV6, SCTP, SEEN_ACK, SEEN_ANY, SEEN_FIN, SEEN_RST, SEEN_SYN, State, TCP, Timers, UDP,
};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// The sender of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Opener,
    Responder,
}

/// Progress of a connection, without resets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The opener has sent SYN.
    Opened,
    /// The opener has sent a later segment without a reply: the reply took another route.
    OpenedOneSided,
    /// The responder has replied: whether it has sent SYN, and whether it has sent a later segment.
    Replied {
        syn: bool,
        later: bool,
    },
    Established,
    HalfClosed(Side),
    Closed,
}

impl Stage {
    fn after(self, side: Side, flags: u8) -> Self {
        use Side::{Opener, Responder};
        use Stage::*;
        let finishes = flags & FIN != 0;
        let is_later = flags & (SYN | RST | ACK) == ACK;
        match (self, side) {
            (HalfClosed(first), side) if finishes && first != side => Closed,
            (HalfClosed(_) | Closed, _) => self,
            (_, side) if finishes => HalfClosed(side),
            (Opened, Responder) => Replied {
                syn: false,
                later: false,
            }
            .after_reply(flags),
            (OpenedOneSided, Responder) => Established,
            (Opened, Opener) if is_later => OpenedOneSided,
            (Replied { .. }, Opener) if is_later => Established,
            (Replied { .. }, Responder) => self.after_reply(flags),
            (Opened | OpenedOneSided | Replied { .. } | Established, _) => self,
        }
    }

    /// The stage after the responder has sent a segment with `flags`.
    fn after_reply(self, flags: u8) -> Self {
        let Self::Replied { syn, later } = self else {
            return self;
        };
        let syn = syn || flags & SYN != 0;
        let later = later || flags & (SYN | RST | ACK) == ACK;
        if syn && later {
            Self::Established
        } else {
            Self::Replied { syn, later }
        }
    }

    /// The state if one of the sides has sent RST.
    fn reset(self) -> State {
        match self.state() {
            State::New | State::SynReceived => State::Refused,
            _ => State::Reset,
        }
    }

    fn state(self) -> State {
        match self {
            Self::Opened | Self::OpenedOneSided => State::New,
            Self::Replied { .. } => State::SynReceived,
            Self::Established => State::Established,
            Self::HalfClosed(_) => State::HalfClosed,
            Self::Closed => State::Closing,
        }
    }
}

/// The value of `FlowEntry::seen` after one more segment of its direction.
fn seen_after(seen: u8, flags: u8) -> u8 {
    let mut after = (seen & !SEEN_RST) | SEEN_ANY;
    for (flag, bit) in [(SYN, SEEN_SYN), (FIN, SEEN_FIN), (RST, SEEN_RST)] {
        after |= if flags & flag == 0 { 0 } else { bit };
    }
    if flags & (SYN | RST | ACK) == ACK {
        after |= SEEN_ACK;
    }
    after
}

/// TCP flags; usual combinations are frequent.
fn flags() -> impl Strategy<Value = u8> {
    prop_oneof![
        2 => Just(SYN),
        2 => Just(SYN | ACK),
        4 => Just(ACK),
        2 => Just(FIN | ACK),
        1 => Just(RST),
        1 => any::<u8>(),
    ]
}

fn segments() -> impl Strategy<Value = Vec<(Side, u8)>> {
    let side = prop_oneof![Just(Side::Opener), Just(Side::Responder)];
    vec((side, flags()), 0..16)
}

/// The state and the reference stage after each segment; the first is the opening SYN.
fn states_of(segments: &[(Side, u8)]) -> Vec<(State, Stage)> {
    let mut stage = Stage::Opened;
    let mut opener = seen_after(0, SYN);
    let mut responder = 0;
    let mut states = Vec::from([(State::of(TCP, opener, responder), stage)]);
    for (side, flags) in segments {
        let seen = match side {
            Side::Opener => &mut opener,
            Side::Responder => &mut responder,
        };
        *seen = seen_after(*seen, *flags);
        stage = stage.after(*side, *flags);
        states.push((State::of(TCP, opener, responder), stage));
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn tcp_state_matches_reference(segments in segments()) {
        let mut reset = [false; 2];
        let states = states_of(&segments);
        for ((side, flags), (state, stage)) in segments.iter().zip(&states[1..]) {
            reset[usize::from(*side == Side::Responder)] = flags & RST != 0;
            let expected = if reset == [false; 2] { stage.state() } else { stage.reset() };
            prop_assert_eq!(*state, expected, "{:?} {:#04x}: {:?}", side, flags, segments);
        }
    }

    #[test]
    fn tcp_state_never_regresses(segments in segments()) {
        let mut furthest = State::New;
        for (state, _) in states_of(&segments) {
            prop_assert!(state >= furthest, "{:?} after {:?}", state, furthest);
            if !matches!(state, State::Refused | State::Reset) {
                furthest = state;
            }
        }
    }

    #[test]
    fn rst_followed_by_segments_of_both_sides_has_no_effect(segments in segments(), at in 0..16_usize, side: bool) {
        let side = if side { Side::Opener } else { Side::Responder };
        let end = [(Side::Opener, ACK), (Side::Responder, ACK)];
        let mut plain = segments.clone();
        plain.extend(end);
        let mut forged = segments;
        forged.insert(at.min(forged.len()), (side, RST));
        forged.extend(end);
        let last = |segments: &[(Side, u8)]| states_of(segments).last().map(|(state, _)| *state);
        prop_assert_eq!(last(&forged), last(&plain));
    }

    #[test]
    fn tcp_without_reply_is_never_established(flags in vec(flags(), 0..16)) {
        let segments: Vec<_> = flags.into_iter().map(|flags| (Side::Opener, flags)).collect();
        for (state, _) in states_of(&segments) {
            prop_assert!(!matches!(state, State::SynReceived | State::Established | State::Closing));
        }
    }

    #[test]
    fn other_protocols_are_established_by_both_sides(protocol: u8, opener in any::<u8>(), responder in any::<u8>()) {
        prop_assume!(protocol != TCP);
        let state = State::of(protocol, opener, responder);
        let both = opener & SEEN_ANY != 0 && responder & SEEN_ANY != 0;
        prop_assert_eq!(state, if both { State::Established } else { State::New });
    }
}

#[test]
fn each_state_has_its_idle_limit() {
    let timers = Timers {
        tcp_syn_sent: 1,
        tcp_syn_received: 2,
        tcp_established: 3,
        tcp_half_closed: 4,
        tcp_closing: 5,
        tcp_refused: 6,
        tcp_reset: 7,
        udp_new: 8,
        udp_established: 9,
        icmp: 10,
        other: 11,
        ..Timers::DEFAULT
    };
    use State::{Closing, Established, HalfClosed, New, Refused, Reset, SynReceived};
    let states = [
        New,
        SynReceived,
        Established,
        HalfClosed,
        Closing,
        Refused,
        Reset,
    ];
    let expected = [
        (TCP, [1, 2, 3, 4, 5, 6, 7]),
        // Only TCP has states after the first reply.
        (UDP, [8, 9, 9, 9, 9, 9, 9]),
        (ICMP, [10; 7]),
        (ICMPV6, [10; 7]),
        (SCTP, [11; 7]),
        (0, [11; 7]),
    ];
    for (protocol, limits) in expected {
        let found = states.map(|state| timers.idle_limit(protocol, state));
        assert_eq!(found, limits, "protocol {protocol}");
    }
}

#[test]
fn half_open_states_are_new_and_syn_received() {
    use State::{Closing, Established, HalfClosed, New, Refused, Reset, SynReceived};
    assert!([New, SynReceived].iter().all(|state| state.is_half_open()));
    let others = [Established, HalfClosed, Closing, Refused, Reset];
    assert!(!others.iter().any(|state| state.is_half_open()));
}
