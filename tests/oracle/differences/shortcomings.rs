//! What netpath ought to do as netfilter does, and does not yet.

use super::{Intended, is_time_exceeded};
use crate::{
    compare::Kind,
    decode::{Decoded, number},
    sequence::Group,
    twin::Place,
};

/// All of them. An entry goes when it is no longer met.
pub const LIST: &[Intended] = &[
    Intended {
        name: "no complaint about an answer of a hairpin that may go no further",
        row: "G-1",
        reason: "the server of another network's client is not told, as a router would",
        diverges: false,
        is: |difference| {
            let is_back = matches!(difference.step().flow, Some((flow, false))
                if flow.server == difference.place && flow.client != Place::Outside);
            is_back && matches!(&difference.kind, Kind::Missing(packet) if is_time_exceeded(packet))
        },
    },
    Intended {
        name: "fragments of an answer of a hairpin are lost if its first one is late",
        row: "U-14",
        reason: "a later fragment is addressed to a sandbox, and is carried or refused as one to that sandbox itself",
        diverges: true,
        is: |difference| {
            let is_hairpin_back = matches!(difference.step().flow, Some((flow, false))
                if flow.server != Place::Outside && flow.client != Place::Outside);
            let is_late = difference
                .sent
                .first()
                .is_some_and(|sent| sent.piece.is_some_and(|(offset, _)| offset != 0));
            is_hairpin_back && is_late
        },
    },
    Intended {
        name: "a transport header is found behind the end of its packet",
        row: "G-2",
        reason: "the length of the frame is looked at, not that of the packet in it",
        diverges: true,
        is: |difference| {
            let is_short = |sent: &Decoded| {
                let header = if sent.protocol == number::TCP { 20 } else { 8 };
                sent.transport_length < header
            };
            difference.sequence.group == Group::Malformed
                && difference.sent.iter().all(is_short)
                && !difference.is_missing()
        },
    },
];
