//! ICMP errors and the packets that they quote.

use std::ops::Range;

use netpath_common::flow::{REWRITE_DST, REWRITE_SRC};
use netpath_ebpf::{
    packet::slice::Slice,
    parse::{Parsed, Transport, parse, parse_quote},
    rewrite::translate_error,
};

use super::{
    addresses, network_checksum, one_zero, only_changed, parse_twice, ports, same_meaning,
};
use crate::{
    input::Input,
    reference::{self, Content, Reading},
};

/// Both ends of the quoted packet are always written.
const BOTH: u8 = REWRITE_SRC | REWRITE_DST;

/// The error and its quote are parsed and translated, and every checksum has the same error as before.
pub fn check(frame: &[u8], error: &Parsed, outer: &Reading, input: &Input<'_>) {
    let quote = parse_twice(frame, |packet, quote| parse_quote(packet, error, quote));
    let inner = reference::read_quote(frame, outer);
    same_meaning(&quote, &inner);
    let (Ok(quote), Ok(inner)) = (quote, inner) else {
        return;
    };
    if quote.transport != Transport::Flow {
        return;
    }
    let answer = quote.key.reversed();
    let to = input.target(&answer, quote.family, BOTH);
    let mut bytes = frame.to_vec();
    let done = translate_error(&mut Slice(&mut bytes), error, &quote, &to, input.flags);
    assert_eq!(done, Some(()));
    checksums_keep_their_errors(frame, &bytes, outer, &inner, input.flags);

    let after = parse_twice(&bytes, |packet, parsed| parse(packet, parsed));
    same_meaning(&after, &reference::read(&bytes));
    let Ok(after) = after else {
        panic!("rejected after translation");
    };
    let changed = |flag| input.flags & flag != 0;
    let source = if changed(REWRITE_SRC) {
        to.src
    } else {
        error.key.src
    };
    let destination = if changed(REWRITE_DST) {
        to.dst
    } else {
        error.key.dst
    };
    assert_eq!((after.key.src, after.key.dst), (source, destination));
    let quoted = parse_twice(&bytes, |packet, quote| parse_quote(packet, &after, quote));
    let Ok(quoted) = quoted else {
        panic!("quote rejected after translation");
    };
    assert_eq!(quoted.key, to.reversed(), "the tuple that its sender used");

    // Only an address of the error that is also in the quoted packet can be restored.
    let same_source = !changed(REWRITE_SRC) || error.key.src == answer.src;
    let same_destination = !changed(REWRITE_DST) || error.key.dst == answer.dst;
    if same_source && same_destination {
        let done = translate_error(
            &mut Slice(&mut bytes),
            &after,
            &quoted,
            &answer,
            input.flags,
        );
        assert_eq!(done, Some(()));
        let fields = checksums(outer, &inner);
        assert_eq!(
            one_zero(&bytes, &fields),
            one_zero(frame, &fields),
            "restored by the reverse translation"
        );
    }
}

/// Ranges of the checksums: those of the error's header and message, and of the quoted headers.
fn checksums(outer: &Reading, inner: &Reading) -> [Range<usize>; 4] {
    let icmp = reference::checksum_at(outer);
    [
        network_checksum(outer),
        icmp..icmp + 2,
        network_checksum(inner),
        quoted_checksum(inner),
    ]
}

/// Range of the quoted transport checksum; empty if it is not quoted.
fn quoted_checksum(inner: &Reading) -> Range<usize> {
    let at = reference::checksum_at(inner);
    if at + 2 <= inner.end {
        at..at + 2
    } else {
        0..0
    }
}

fn checksums_keep_their_errors(
    before: &[u8],
    after: &[u8],
    outer: &Reading,
    inner: &Reading,
    ends: u8,
) {
    let mut changed = checksums(outer, inner).to_vec();
    changed.extend([addresses(outer, ends), addresses(inner, BOTH), ports(inner)]);
    only_changed(before, after, &changed);
    for reading in [outer, inner] {
        if reading.v4 {
            assert_eq!(
                reference::network_residue(after, reading),
                reference::network_residue(before, reading),
                "header checksum"
            );
        }
    }
    assert_eq!(
        reference::transport_residue(after, outer),
        reference::transport_residue(before, outer),
        "ICMP checksum"
    );
    let quoted = quoted_checksum(inner);
    if inner.content == Content::Udp && before[quoted.clone()] == [0, 0] {
        assert_eq!(after[quoted], [0, 0], "no checksum");
    } else if !quoted.is_empty() {
        assert_eq!(
            reference::transport_residue(after, inner),
            reference::transport_residue(before, inner),
            "quoted transport checksum"
        );
    }
}
