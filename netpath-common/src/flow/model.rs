//! [`State::of`] against a state machine that is written out, one line for each step.
//!
//! The state is derived from what both sides have *ever* sent; a connection is a sequence of segments. The machine here
//! goes from segment to segment, as the tables of RFC 9293 and RFC 7857 §2 do.

extern crate std;

use std::vec::Vec;

use proptest::{collection::vec, prelude::*};

use super::*;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const ACK: u8 = 0x10;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Opener,
    Answerer,
}

/// How far a connection is, whoever has reset it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The opener's SYN.
    Opened,
    /// The opener goes on as if it had been answered: the answer went another way.
    OpenedAndGoesOn,
    /// The answerer's part of a handshake: whether it has sent SYN, and whether it has gone on, in whatever order.
    Answered {
        syn: bool,
        on: bool,
    },
    Established,
    HalfClosed(Side),
    Closed,
}

impl Stage {
    fn after(self, side: Side, flags: u8) -> Self {
        use Side::{Answerer, Opener};
        use Stage::*;
        let finishes = flags & FIN != 0;
        let goes_on = flags & (SYN | RST | ACK) == ACK;
        match (self, side) {
            (HalfClosed(first), side) if finishes && first != side => Closed,
            (HalfClosed(_) | Closed, _) => self,
            (_, side) if finishes => HalfClosed(side),
            (Opened, Answerer) => Answered {
                syn: false,
                on: false,
            }
            .answered(flags),
            (OpenedAndGoesOn, Answerer) => Established,
            (Opened, Opener) if goes_on => OpenedAndGoesOn,
            (Answered { .. }, Opener) if goes_on => Established,
            (Answered { .. }, Answerer) => self.answered(flags),
            (Opened | OpenedAndGoesOn | Answered { .. } | Established, _) => self,
        }
    }

    /// An answerer that has sent SYN goes on only when that was acknowledged.
    fn answered(self, flags: u8) -> Self {
        let Self::Answered { syn, on } = self else {
            return self;
        };
        let syn = syn || flags & SYN != 0;
        let on = on || flags & (SYN | RST | ACK) == ACK;
        if syn && on {
            Self::Established
        } else {
            Self::Answered { syn, on }
        }
    }

    /// The state if one of the sides has reset it.
    fn reset(self) -> State {
        match self.state() {
            State::New | State::SynReceived => State::Refused,
            _ => State::Reset,
        }
    }

    fn state(self) -> State {
        match self {
            Self::Opened | Self::OpenedAndGoesOn => State::New,
            Self::Answered { .. } => State::SynReceived,
            Self::Established => State::Established,
            Self::HalfClosed(_) => State::HalfClosed,
            Self::Closed => State::Closing,
        }
    }
}

/// What a half remembers after one more segment of its direction, as its fields are documented.
fn remembered(seen: u8, flags: u8) -> u8 {
    let mut after = (seen & !SEEN_RST) | SEEN_ANY;
    for (flag, bit) in [(SYN, SEEN_SYN), (FIN, SEEN_FIN), (RST, SEEN_RST)] {
        after |= if flags & flag == 0 { 0 } else { bit };
    }
    if flags & (SYN | RST | ACK) == ACK {
        after |= SEEN_ACK;
    }
    after
}

/// Any combination of the flags that matter, the usual ones often.
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
    let side = prop_oneof![Just(Side::Opener), Just(Side::Answerer)];
    vec((side, flags()), 0..16)
}

/// The state after each segment, the opening SYN first; and the stage that the machine has then.
fn run(segments: &[(Side, u8)]) -> Vec<(State, Stage)> {
    let mut stage = Stage::Opened;
    let mut opener = remembered(0, SYN);
    let mut answerer = 0;
    let mut states = Vec::from([(State::of(TCP, opener, answerer), stage)]);
    for (side, flags) in segments {
        let seen = match side {
            Side::Opener => &mut opener,
            Side::Answerer => &mut answerer,
        };
        *seen = remembered(*seen, *flags);
        stage = stage.after(*side, *flags);
        states.push((State::of(TCP, opener, answerer), stage));
    }
    states
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn tcp_goes_the_way_of_the_machine(segments in segments()) {
        let mut reset = [false; 2];
        let states = run(&segments);
        for ((side, flags), (state, stage)) in segments.iter().zip(&states[1..]) {
            reset[usize::from(*side == Side::Answerer)] = flags & RST != 0;
            let expected = if reset == [false; 2] { stage.state() } else { stage.reset() };
            prop_assert_eq!(*state, expected, "{:?} {:#04x}: {:?}", side, flags, segments);
        }
    }

    #[test]
    fn a_connection_never_goes_back(segments in segments()) {
        let mut furthest = State::New;
        for (state, _) in run(&segments) {
            prop_assert!(state >= furthest, "{:?} after {:?}", state, furthest);
            if !matches!(state, State::Refused | State::Reset) {
                furthest = state;
            }
        }
    }

    #[test]
    fn a_reset_ends_nothing_if_both_sides_go_on(segments in segments(), at in 0..16_usize, side: bool) {
        let side = if side { Side::Opener } else { Side::Answerer };
        let end = [(Side::Opener, ACK), (Side::Answerer, ACK)];
        let mut plain = segments.clone();
        plain.extend(end);
        let mut forged = segments;
        forged.insert(at.min(forged.len()), (side, RST));
        forged.extend(end);
        let last = |segments: &[(Side, u8)]| run(segments).last().map(|(state, _)| *state);
        prop_assert_eq!(last(&forged), last(&plain));
    }

    #[test]
    fn an_opener_alone_is_never_answered(flags in vec(flags(), 0..16)) {
        let segments: Vec<_> = flags.into_iter().map(|flags| (Side::Opener, flags)).collect();
        for (state, _) in run(&segments) {
            prop_assert!(!matches!(state, State::SynReceived | State::Established | State::Closing));
        }
    }

    #[test]
    fn others_are_established_by_both_sides(protocol: u8, opener in any::<u8>(), answerer in any::<u8>()) {
        prop_assume!(protocol != TCP);
        let state = State::of(protocol, opener, answerer);
        let both = opener & SEEN_ANY != 0 && answerer & SEEN_ANY != 0;
        prop_assert_eq!(state, if both { State::Established } else { State::New });
    }
}

#[test]
fn each_state_has_its_own_limit() {
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
        // Only TCP has states between the first answer and the last packet.
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
fn only_what_waits_for_the_handshake_is_half_open() {
    use State::{Closing, Established, HalfClosed, New, Refused, Reset, SynReceived};
    assert!([New, SynReceived].iter().all(|state| state.is_half_open()));
    let others = [Established, HalfClosed, Closing, Refused, Reset];
    assert!(!others.iter().any(|state| state.is_half_open()));
}
