//! The properties that hold for every packet.

mod error;
mod translation;

use std::ops::Range;

use netpath_common::{
    addr::{Family, MacAddr},
    flow::{FlowKey, REWRITE_DST, REWRITE_SRC},
    reason::Reason,
};
use netpath_ebpf::{
    packet::slice::Slice,
    parse::{
        ACK, ETHERNET, FIN, Fragment, FragmentPosition, Parsed, RST, SYN, Transport, ethertype,
        first_protocol, parse, parse_at,
    },
    rewrite::{decrement_ttl, set_macs},
};

use crate::{
    input::Input,
    reference::{self, Content, Reading, Refusal},
};

/// Checks the properties for one input.
///
/// # Panics
/// If a property does not hold.
pub fn check(input: &[u8]) {
    let Some(input) = Input::split(input) else {
        return;
    };
    let mut frame = input.frame.to_vec();
    let reading = reference::read(&frame);
    if let Ok(reading) = &reading
        && input.complete
    {
        reference::complete(&mut frame, reading);
    }
    let parsed = parse_twice(&frame, |packet, parsed| parse(packet, parsed));
    same_meaning(&parsed, &reading);
    same_without_link_header(&frame, &parsed);
    let (Ok(parsed), Ok(reading)) = (parsed, reading) else {
        return;
    };
    ttl_is_decremented(&frame, &parsed, &reading);
    macs_are_replaced(&frame, &input);
    if reading.v4 || reading.l4 == ETHERNET + 40 {
        let protocol = first_protocol(&Slice(&mut frame.clone()));
        assert_eq!(protocol, Some(reading.protocol));
    }
    match parsed.transport {
        Transport::Flow => {
            transport_is_there(&frame, &parsed, &reading);
            translation::of_packet(&frame, &parsed, &reading, &input);
        }
        Transport::LaterFragment => translation::of_fragment(&frame, &parsed, &reading, &input),
        Transport::IcmpError => error::check(&frame, &parsed, &reading, &input),
        Transport::LinkControl | Transport::Other => {}
    }
    if parsed.fragment.position == FragmentPosition::First {
        translation::of_identification(&frame, &parsed, &reading, &input);
    }
}

/// Parses into a zeroed and into a used [`Parsed`]: programs keep it in a map, which contains the values of the previous packet.
fn parse_twice(
    frame: &[u8],
    parse: impl Fn(&Slice<'_>, &mut Parsed) -> Result<(), Reason>,
) -> Result<Parsed, Reason> {
    let mut bytes = frame.to_vec();
    let mut clean = Parsed::default();
    let first = parse(&Slice(&mut bytes), &mut clean);
    let mut used = Parsed {
        key: FlowKey {
            protocol: 7,
            pad: 7,
            pad2: 7,
            ..FlowKey::default()
        },
        l3: 7,
        l4: 7,
        end: 7,
        fragment: Fragment {
            id_offset: 7,
            payload: 7,
            datagram_offset: 7,
            id: 7,
            position: FragmentPosition::Later,
            is_last: true,
        },
        transport: Transport::IcmpError,
        family: if clean.family == Family::V4 {
            Family::V6
        } else {
            Family::V4
        },
        ttl: 7,
        tos: 7,
        tcp_flags: 7,
        icmp_type: 7,
    };
    let second = parse(&Slice(&mut bytes), &mut used);
    assert_eq!(bytes, frame, "parsing changes nothing");
    assert_eq!(first, second, "the previous packet has an effect");
    assert_eq!(clean.key.src, used.key.src, "source");
    first?;
    // Only a fragment sets these fields.
    if clean.fragment.position == FragmentPosition::Whole {
        used.fragment = Fragment::default();
    }
    assert_eq!(format!("{clean:?}"), format!("{used:?}"));
    assert_eq!((clean.key.pad, clean.key.pad2), (0, 0), "part of map keys");
    Ok(clean)
}

/// Without a link header, a packet is parsed in the same way; only the offset of its network header differs.
fn same_without_link_header(frame: &[u8], with: &Result<Parsed, Reason>) {
    let mut bytes = frame.to_vec();
    let Some(ethertype) = ethertype(&Slice(&mut bytes)) else {
        return;
    };
    let mut packet = frame[ETHERNET..].to_vec();
    let mut without = Parsed::default();
    let result = parse_at(&Slice(&mut packet), 0, ethertype, &mut without);
    let with = match with {
        Ok(with) => with,
        Err(reason) => {
            // The limit of the transport header's offset includes the link header.
            assert!(result.is_err() || *reason == Reason::TooManyHeaders);
            return;
        }
    };
    assert_eq!(result, Ok(()));
    without.l3 = with.l3;
    assert_eq!(format!("{without:?}"), format!("{with:?}"));
}

/// The parser and the reference read the same values.
fn same_meaning(parsed: &Result<Parsed, Reason>, reading: &Result<Reading, Refusal>) {
    let (parsed, reading) = match (parsed, reading) {
        (Ok(parsed), Ok(reading)) => (parsed, reading),
        (Err(reason), Err(refusal)) => {
            let expected = match refusal {
                Refusal::Foreign => Reason::NotOurs,
                Refusal::Malformed => Reason::Malformed,
                Refusal::Chain => Reason::TooManyHeaders,
                Refusal::Martian => Reason::Martian,
            };
            return assert_eq!(*reason, expected);
        }
        _ => panic!("parsed: {parsed:?}, expected: {reading:?}"),
    };
    let start = if reading.v4 { 12 } else { 0 };
    let key = &parsed.key;
    assert_eq!(parsed.family == Family::V4, reading.v4);
    assert_eq!(key.src.octets()[start..], reading.source);
    assert_eq!(key.dst.octets()[start..], reading.destination);
    assert!(!reading.v4 || key.src.is_v4() && key.dst.is_v4());
    assert_eq!((key.sport.get(), key.dport.get()), reading.ports);
    assert_eq!(key.protocol, reading.protocol);
    assert_eq!((parsed.ttl, parsed.tos), (reading.ttl, reading.tos));
    assert_eq!(
        (parsed.l3, parsed.l3 + parsed.l4, parsed.l3 + parsed.end),
        (reading.l3, reading.l4, reading.end)
    );
    match (parsed.fragment.position, reading.fragment) {
        (FragmentPosition::Whole, None) => {}
        (position, Some(expected)) => {
            let later = parsed.transport == Transport::LaterFragment;
            assert_eq!(
                position,
                if later {
                    FragmentPosition::Later
                } else {
                    FragmentPosition::First
                }
            );
            let fragment = &parsed.fragment;
            assert_eq!(
                (fragment.id, parsed.l3 + fragment.id_offset),
                (expected.id, expected.id_at)
            );
            assert_eq!(
                (
                    parsed.l3 + fragment.payload,
                    fragment.datagram_offset as usize
                ),
                (expected.start, expected.at as usize)
            );
            assert_eq!(fragment.is_last, expected.is_last);
        }
        (position, None) => panic!("{position:?} of an unfragmented datagram"),
    }
    let (transport, tcp_flags, icmp_type) = match reading.content {
        Content::Tcp(flags) => (Transport::Flow, flags, 0),
        Content::Udp => (Transport::Flow, 0, 0),
        Content::Echo(kind) => (Transport::Flow, 0, kind),
        Content::Error(kind) => (Transport::IcmpError, 0, kind),
        Content::Control(kind) => (Transport::LinkControl, 0, kind),
        Content::Message(kind) => (Transport::Other, 0, kind),
        Content::Later => (Transport::LaterFragment, 0, 0),
        Content::Other => (Transport::Other, 0, 0),
    };
    assert_eq!(parsed.transport, transport);
    assert_eq!((parsed.tcp_flags, parsed.icmp_type), (tcp_flags, icmp_type));
    let reports = match reading.content {
        Content::Error(kind) if reading.v4 => kind != 4 && kind != 5,
        Content::Error(kind) => (1..=4).contains(&kind),
        _ => false,
    };
    assert_eq!(
        parsed.reports_packet() && transport == Transport::IcmpError,
        reports
    );
}

fn transport_is_there(frame: &[u8], parsed: &Parsed, reading: &Reading) {
    let opens = match reading.content {
        Content::Tcp(flags) => flags & (SYN | ACK | RST | FIN) == SYN,
        Content::Echo(kind) => kind == if reading.v4 { 8 } else { 128 },
        _ => true,
    };
    assert_eq!(parsed.opens_flow(), opens);
    assert_eq!(parsed.checksum_offset(), reference::checksum_at(reading));
    assert!(parsed.checksum_offset() + 2 <= frame.len());
}

/// The TTL is decremented, and the header checksum has the same error as before.
fn ttl_is_decremented(frame: &[u8], parsed: &Parsed, reading: &Reading) {
    let mut bytes = frame.to_vec();
    assert_eq!(decrement_ttl(&mut Slice(&mut bytes), parsed), Some(()));
    let (ttl, checksum) = if reading.v4 {
        (ETHERNET + 8, ETHERNET + 10..ETHERNET + 12)
    } else {
        (ETHERNET + 7, 0..0)
    };
    assert_eq!(bytes[ttl], reading.ttl.wrapping_sub(1));
    only_changed(frame, &bytes, &[ttl..ttl + 1, checksum]);
    if reading.v4 {
        assert_eq!(
            reference::network_residue(&bytes, reading),
            reference::network_residue(frame, reading)
        );
    }
}

fn macs_are_replaced(frame: &[u8], input: &Input<'_>) {
    let mut bytes = frame.to_vec();
    let (to, from) = ([input.flags; 6], [!input.flags; 6]);
    let done = set_macs(&mut Slice(&mut bytes), &MacAddr(to), &MacAddr(from));
    assert_eq!(done, Some(()));
    assert_eq!((&bytes[..6], &bytes[6..12]), (&to[..], &from[..]));
    only_changed(frame, &bytes, std::slice::from_ref(&(0..12)));
}

/// Bytes outside the ranges do not change.
fn only_changed(before: &[u8], after: &[u8], ranges: &[Range<usize>]) {
    assert_eq!(before.len(), after.len());
    for (at, (old, new)) in before.iter().zip(after).enumerate() {
        assert!(
            old == new || ranges.iter().any(|range| range.contains(&at)),
            "byte {at}"
        );
    }
}

/// Replaces checksums of zero by 0xffff: both represent zero in ones' complement, and an update may yield either.
fn one_zero(frame: &[u8], checksums: &[Range<usize>]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for range in checksums {
        let field = &mut bytes[range.clone()];
        if field == [0, 0] {
            field.fill(0xff);
        }
    }
    bytes
}

/// Range of the header checksum; empty for IPv6.
fn network_checksum(reading: &Reading) -> Range<usize> {
    if reading.v4 {
        reading.l3 + 10..reading.l3 + 12
    } else {
        0..0
    }
}

/// Range of the addresses that change.
fn addresses(reading: &Reading, flags: u8) -> Range<usize> {
    let (first, size) = if reading.v4 { (12, 4) } else { (8, 16) };
    let middle = reading.l3 + first + size;
    let start = if flags & REWRITE_SRC == 0 { 0 } else { size };
    let end = if flags & REWRITE_DST == 0 { 0 } else { size };
    middle - start..middle + end
}

/// Range of the ports, or of the identifier of an echo.
fn ports(reading: &Reading) -> Range<usize> {
    match reading.content {
        Content::Echo(_) => reading.l4 + 4..reading.l4 + 6,
        _ => reading.l4..reading.l4 + 4,
    }
}
