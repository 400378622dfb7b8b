//! The sequences of segments, as a table.

use netpath_tests::packet::{ACK, FIN, RST, SYN};

use super::segment::{Segment, c, s};

const PSH: u8 = 0x08;
const URG: u8 = 0x20;
const ECE: u8 = 0x40;
const CWR: u8 = 0x80;

/// MSS 1460, SACK permitted, timestamps, no operation, window scale 7.
const USUAL_OPTIONS: &[u8] = &[
    2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7,
];
/// Two no-operation options, and one SACK block.
const SACK: &[u8] = &[1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 5, 0];

const OPEN: [Segment; 3] = [c(SYN), s(SYN | ACK), c(ACK)];

const CLOSED: [Segment; 6] = [
    c(SYN),
    s(SYN | ACK),
    c(ACK),
    c(FIN | ACK),
    s(FIN | ACK),
    c(ACK),
];

/// Each sequence: name, opening segments, further segments.
pub const SEQUENCES: &[(&str, &[Segment], &[Segment])] = &[
    ("handshake", &OPEN, &[]),
    (
        "data in both directions",
        &OPEN,
        &[
            c(PSH | ACK).data(100),
            s(ACK),
            s(PSH | ACK).data(1_000),
            c(ACK),
        ],
    ),
    (
        "options",
        &[],
        &[
            c(SYN).options(USUAL_OPTIONS),
            s(SYN | ACK).options(USUAL_OPTIONS),
            c(ACK),
            s(ACK).options(SACK),
            c(ACK).data(5).options(SACK),
        ],
    ),
    (
        "explicit congestion notification",
        &[],
        &[
            c(SYN | ECE | CWR),
            s(SYN | ACK | ECE),
            c(ACK),
            c(ACK | CWR).data(9),
            s(ACK | ECE),
        ],
    ),
    (
        "repeated syn",
        &[],
        &[
            c(SYN),
            c(SYN).retransmission(),
            c(SYN).retransmission(),
            s(SYN | ACK),
            c(ACK),
        ],
    ),
    (
        "repeated syn-ack",
        &[],
        &[
            c(SYN),
            s(SYN | ACK),
            s(SYN | ACK).retransmission(),
            c(ACK),
            s(ACK).data(3),
        ],
    ),
    (
        "syn and syn-ack cross",
        &[],
        &[
            c(SYN),
            s(SYN | ACK),
            c(SYN).retransmission(),
            s(SYN | ACK).retransmission(),
            c(ACK),
            c(ACK).data(3),
        ],
    ),
    (
        "late syn-ack after the handshake",
        &OPEN,
        &[s(SYN | ACK).retransmission(), c(ACK), s(ACK).data(7)],
    ),
    (
        "data on syn",
        &[],
        &[c(SYN).data(50), s(SYN | ACK), c(ACK).data(4), s(ACK)],
    ),
    (
        "data instead of the last ack",
        &[],
        &[c(SYN), s(SYN | ACK), c(PSH | ACK).data(5), s(ACK)],
    ),
    (
        "server sends data before the last ack",
        &[],
        &[c(SYN), s(SYN | ACK), s(ACK).data(5), c(ACK)],
    ),
    (
        "client closes",
        &OPEN,
        &[c(FIN | ACK), s(ACK), s(FIN | ACK), c(ACK)],
    ),
    (
        "server closes",
        &OPEN,
        &[s(FIN | ACK), c(ACK), c(FIN | ACK), s(ACK)],
    ),
    (
        "half-closed by the client",
        &OPEN,
        &[
            c(FIN | ACK),
            s(ACK),
            s(ACK).data(500),
            c(ACK),
            s(ACK).data(500),
            c(ACK),
            s(FIN | ACK),
            c(ACK),
        ],
    ),
    (
        "half-closed by the server",
        &OPEN,
        &[
            s(FIN | ACK),
            c(ACK),
            c(ACK).data(500),
            s(ACK),
            c(ACK).data(500),
            s(ACK),
            c(FIN | ACK),
            s(ACK),
        ],
    ),
    (
        "simultaneous close",
        &OPEN,
        &[c(FIN | ACK), s(FIN | ACK), c(ACK), s(ACK)],
    ),
    (
        "repeated fin",
        &OPEN,
        &[
            c(FIN | ACK),
            c(FIN | ACK).retransmission(),
            s(FIN | ACK),
            s(FIN | ACK).retransmission(),
            c(ACK),
        ],
    ),
    (
        "fin with data",
        &OPEN,
        &[
            c(FIN | PSH | ACK).data(11),
            s(FIN | PSH | ACK).data(12),
            c(ACK),
            s(ACK),
        ],
    ),
    (
        "repeated last ack",
        &CLOSED,
        &[
            s(FIN | ACK).retransmission(),
            c(ACK),
            s(FIN | ACK).retransmission(),
            c(ACK),
        ],
    ),
    (
        "late data after the close",
        &CLOSED,
        &[s(ACK).data(9).shift(-20), c(ACK)],
    ),
    ("refused", &[], &[c(SYN), s(RST | ACK)]),
    (
        "refused, then tried again",
        &[],
        &[c(SYN), s(RST | ACK), c(SYN), s(SYN | ACK), c(ACK)],
    ),
    ("client resets after its syn", &[], &[c(SYN), c(RST)]),
    (
        "client resets after the syn-ack",
        &[],
        &[c(SYN), s(SYN | ACK), c(RST)],
    ),
    (
        "server resets after its syn-ack",
        &[],
        &[c(SYN), s(SYN | ACK), s(RST)],
    ),
    ("client resets", &OPEN, &[c(RST)]),
    ("client resets with ack", &OPEN, &[c(RST | ACK)]),
    ("server resets", &OPEN, &[s(RST)]),
    ("server resets with ack", &OPEN, &[s(RST | ACK)]),
    ("reset with data", &OPEN, &[s(RST | ACK).data(20)]),
    (
        "repeated reset",
        &OPEN,
        &[c(RST | ACK), c(RST | ACK).retransmission(), s(RST | ACK)],
    ),
    (
        "reset in reply to fin",
        &OPEN,
        &[c(FIN | ACK), s(RST | ACK)],
    ),
    (
        "reset in the half-closed state",
        &OPEN,
        &[s(FIN | ACK), c(ACK), c(RST | ACK)],
    ),
    ("reset after the close", &CLOSED, &[s(RST | ACK)]),
    (
        "data after a reset",
        &OPEN,
        &[c(RST | ACK), s(ACK).data(10), c(RST)],
    ),
    (
        "keepalive by the client",
        &OPEN,
        &[c(ACK).shift(-1), s(ACK), c(ACK).shift(-1).data(1), s(ACK)],
    ),
    (
        "keepalive by the server",
        &OPEN,
        &[s(ACK).shift(-1), c(ACK), s(ACK).shift(-1).data(1), c(ACK)],
    ),
    (
        "zero window",
        &OPEN,
        &[
            c(ACK).data(100),
            s(ACK).window(0),
            c(ACK).data(1),
            s(ACK).window(0),
            s(ACK).window(9_000),
            c(ACK).data(99),
        ],
    ),
    (
        "urgent",
        &OPEN,
        &[
            c(URG | PSH | ACK).data(8).urgent(3),
            s(ACK),
            s(URG | ACK).data(2).urgent(2),
        ],
    ),
    (
        "repeated data",
        &OPEN,
        &[
            c(ACK).data(100),
            c(ACK).data(100).retransmission(),
            s(ACK),
            s(ACK).retransmission(),
            s(ACK).retransmission(),
        ],
    ),
    (
        "far outside the window",
        &OPEN,
        &[
            c(ACK).data(10).shift(1_000_000_000),
            s(ACK),
            c(ACK).data(10),
        ],
    ),
    (
        "simultaneous open",
        &[],
        &[
            c(SYN),
            s(SYN),
            c(SYN | ACK).retransmission(),
            s(SYN | ACK).retransmission(),
            c(ACK).data(2),
            s(ACK),
        ],
    ),
    (
        "challenge ack",
        &OPEN,
        &[
            c(SYN).shift(500_000),
            s(ACK),
            c(RST),
            c(SYN).shift(500_000),
            s(SYN | ACK),
            c(ACK),
        ],
    ),
    (
        "ack instead of syn-ack",
        &[],
        &[
            c(SYN),
            s(ACK),
            c(RST),
            c(SYN),
            s(SYN | ACK).retransmission(),
            c(ACK),
        ],
    ),
    (
        "syn reuses a closed connection",
        &CLOSED,
        &[
            c(SYN).shift(100_000),
            s(SYN | ACK).shift(100_000),
            c(ACK),
            s(ACK).data(6),
        ],
    ),
    (
        "syn reuses a half-closed connection",
        &OPEN,
        &[
            c(FIN | ACK),
            s(ACK),
            c(SYN).shift(100_000),
            s(SYN | ACK).shift(100_000),
            c(ACK),
        ],
    ),
    (
        "syn reuses a reset connection",
        &OPEN,
        &[
            s(RST | ACK),
            c(SYN).shift(100_000),
            s(SYN | ACK),
            c(ACK),
            c(FIN | ACK),
        ],
    ),
    (
        "server reuses a closed connection",
        &CLOSED,
        &[s(SYN).shift(100_000)],
    ),
    (
        "server sends syn in a live connection",
        &OPEN,
        &[s(SYN).shift(100_000), c(ACK), s(ACK).data(3)],
    ),
    (
        "no flags in a live connection",
        &OPEN,
        &[c(0), s(0).data(3), c(ACK)],
    ),
    (
        "all flags in a live connection",
        &OPEN,
        &[c(FIN | SYN | RST | PSH | ACK | URG), s(ACK)],
    ),
    ("syn and fin", &[], &[c(SYN | FIN)]),
    ("syn-ack without a flow", &[], &[c(SYN | ACK)]),
    ("ack without a flow", &[], &[c(ACK)]),
    ("data without a flow", &[], &[c(PSH | ACK).data(10), s(ACK)]),
    ("fin without a flow", &[], &[c(FIN | ACK)]),
    ("reset without a flow", &[], &[c(RST)]),
    ("no flags without a flow", &[], &[c(0)]),
    (
        "server sends first",
        &[],
        &[s(SYN | ACK), s(ACK).data(3), s(RST)],
    ),
];
