//! Packets, fragments and their identifications.

use netpath_common::flow::{REWRITE_DST, REWRITE_SRC};
use netpath_ebpf::{
    packet::slice::Slice,
    parse::{Parsed, parse},
    rewrite::{set_fragment_id, translate, translate_fragment},
};

use super::{
    addresses, network_checksum, one_zero, only_changed, parse_twice, ports, same_meaning,
};
use crate::{
    input::Input,
    reference::{self, Content, Reading},
};

/// A translated packet has the new tuple, its checksums have the same error as before, and nothing else changes. The reverse
/// translation restores it.
pub fn of_packet(frame: &[u8], parsed: &Parsed, reading: &Reading, input: &Input<'_>) {
    let to = input.target(&parsed.key, parsed.family, input.flags);
    let mut bytes = frame.to_vec();
    let done = translate(&mut Slice(&mut bytes), parsed, &to, input.flags);
    assert_eq!(done, Some(()));

    let checksum = parsed.checksum_offset();
    only_changed(
        frame,
        &bytes,
        &[
            network_checksum(reading),
            addresses(reading, input.flags),
            ports(reading),
            checksum..checksum + 2,
        ],
    );

    let Ok(after) = reference::read(&bytes) else {
        panic!("not a packet after translation");
    };
    if reading.v4 {
        assert_eq!(
            reference::network_residue(&bytes, &after),
            reference::network_residue(frame, reading),
            "header checksum"
        );
    }
    if reading.content == Content::Udp && frame[checksum..checksum + 2] == [0, 0] {
        assert_eq!(bytes[checksum..checksum + 2], [0, 0], "no checksum");
    } else {
        assert_eq!(
            reference::transport_residue(&bytes, &after),
            reference::transport_residue(frame, reading),
            "transport checksum"
        );
        if reading.content == Content::Udp {
            assert_ne!(bytes[checksum..checksum + 2], [0, 0], "RFC 768");
        }
    }

    let Ok(parsed_after) = parse_twice(&bytes, |packet, parsed| parse(packet, parsed)) else {
        panic!("rejected after translation");
    };
    same_meaning(&Ok(parsed_after), &Ok(after));
    assert_eq!(parsed_after.key, to);
    let done = translate(
        &mut Slice(&mut bytes),
        &parsed_after,
        &parsed.key,
        REWRITE_SRC | REWRITE_DST,
    );
    assert_eq!(done, Some(()));
    let fields = [network_checksum(reading), checksum..checksum + 2];
    assert_eq!(
        one_zero(&bytes, &fields),
        one_zero(frame, &fields),
        "restored by the reverse translation"
    );
}

/// A later fragment gets addresses and an identification, and nothing else changes.
pub fn of_fragment(frame: &[u8], parsed: &Parsed, reading: &Reading, input: &Input<'_>) {
    let to = input.target(&parsed.key, parsed.family, input.flags);
    let mut bytes = frame.to_vec();
    let done = translate_fragment(&mut Slice(&mut bytes), parsed, &to, input.flags, input.id());
    assert_eq!(done, Some(()));
    let after = identified(frame, &mut bytes, parsed, reading, input, input.flags);
    assert_eq!((after.key.src, after.key.dst), (to.src, to.dst));
}

/// The first fragment gets the same identification.
pub fn of_identification(frame: &[u8], parsed: &Parsed, reading: &Reading, input: &Input<'_>) {
    let mut bytes = frame.to_vec();
    let done = set_fragment_id(&mut Slice(&mut bytes), parsed, input.id());
    assert_eq!(done, Some(()));
    identified(frame, &mut bytes, parsed, reading, input, 0);
}

fn identified(
    frame: &[u8],
    bytes: &mut [u8],
    parsed: &Parsed,
    reading: &Reading,
    input: &Input<'_>,
    ends: u8,
) -> Parsed {
    let (id, size) = if reading.v4 {
        (input.id() & 0xffff, 2)
    } else {
        (input.id(), 4)
    };
    let offset = parsed.l3 + parsed.fragment.id_offset;
    let place = offset..offset + size;
    let changed = [network_checksum(reading), addresses(reading, ends), place];
    only_changed(frame, bytes, &changed);
    let mut after = Parsed::default();
    assert_eq!(parse(&Slice(bytes), &mut after), Ok(()));
    assert_eq!(
        (after.fragment.id, after.fragment.position),
        (id, parsed.fragment.position)
    );
    if reading.v4 {
        assert_eq!(
            reference::network_residue(bytes, reading),
            reference::network_residue(frame, reading)
        );
    }
    after
}
