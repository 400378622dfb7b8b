//! The properties.

use std::ops::Range;

use netpath_common::{
    addr::MacAddr,
    flow::{FlowKey, REWRITE_DST, REWRITE_SRC},
    reason::Reason,
};
use netpath_ebpf::{
    packet::slice::Slice,
    parse::{ACK, ETHERNET, FIN, Parsed, RST, SYN, Transport, parse},
    rewrite::{decrement_ttl, set_macs, translate},
};

use crate::{
    input::Input,
    reference::{self, Content, Reading, Refusal},
};

/// Runs the code over one input.
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
    let parsed = parse_twice(&frame);
    same_meaning(&frame, &parsed, &reading);
    let (Ok(parsed), Ok(reading)) = (parsed, reading) else {
        return;
    };
    one_hop_further(&frame, &parsed, &reading);
    other_macs(&frame, &input);
    if parsed.transport == Transport::Flow {
        translation(&frame, &parsed, &reading, &input);
    }
}

/// Parses into a clean and into a used [`Parsed`]: programs keep it in a map, where the packet before has left its own.
fn parse_twice(frame: &[u8]) -> Result<Parsed, Reason> {
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
        l4: 7,
        transport: Transport::IcmpError,
        v4: !clean.v4,
        ttl: 7,
        tos: 7,
        tcp_flags: 7,
        icmp_type: 7,
    };
    let second = parse(&Slice(&mut bytes), &mut used);
    assert_eq!(bytes, frame, "parsing changes nothing");
    assert_eq!(first, second, "the packet before decides");
    assert_eq!(clean.key.src, used.key.src, "the source, right or not");
    first?;
    assert_eq!(format!("{clean:?}"), format!("{used:?}"));
    assert_eq!((clean.key.pad, clean.key.pad2), (0, 0), "part of map keys");
    Ok(clean)
}

/// The parser and the reference understand the same.
fn same_meaning(frame: &[u8], parsed: &Result<Parsed, Reason>, reading: &Result<Reading, Refusal>) {
    let (parsed, reading) = match (parsed, reading) {
        (Ok(parsed), Ok(reading)) => (parsed, reading),
        (Err(reason), Err(refusal)) => {
            let expected = match refusal {
                Refusal::Foreign => Reason::NotOurs,
                Refusal::Malformed => Reason::Malformed,
                Refusal::Chain => Reason::TooManyHeaders,
            };
            return assert_eq!(*reason, expected);
        }
        _ => panic!("parsed: {parsed:?}, expected: {reading:?}"),
    };
    let start = if reading.v4 { 12 } else { 0 };
    let key = &parsed.key;
    assert_eq!(parsed.v4, reading.v4);
    assert_eq!(key.src.octets()[start..], reading.source);
    assert_eq!(key.dst.octets()[start..], reading.destination);
    assert!(!reading.v4 || key.src.is_v4() && key.dst.is_v4());
    assert_eq!((key.sport.get(), key.dport.get()), reading.ports);
    assert_eq!(key.protocol, reading.protocol);
    assert_eq!((parsed.ttl, parsed.tos), (reading.ttl, reading.tos));
    assert_eq!(parsed.l4, reading.l4);
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
    if transport != Transport::Flow {
        return;
    }
    let opens = match reading.content {
        Content::Tcp(flags) => flags & (SYN | ACK | RST | FIN) == SYN,
        Content::Echo(kind) => kind == if reading.v4 { 8 } else { 128 },
        _ => true,
    };
    assert_eq!(parsed.opens_flow(), opens);
    assert_eq!(parsed.checksum_offset(), reference::checksum_at(reading));
    assert!(parsed.checksum_offset() + 2 <= frame.len());
}

/// One less, in one byte and in the header checksum, which is as wrong as it was.
fn one_hop_further(frame: &[u8], parsed: &Parsed, reading: &Reading) {
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

fn other_macs(frame: &[u8], input: &Input) {
    let mut bytes = frame.to_vec();
    let (to, from) = ([input.flags; 6], [!input.flags; 6]);
    let done = set_macs(&mut Slice(&mut bytes), &MacAddr(to), &MacAddr(from));
    assert_eq!(done, Some(()));
    assert_eq!((&bytes[..6], &bytes[6..12]), (&to[..], &from[..]));
    only_changed(frame, &bytes, std::slice::from_ref(&(0..12)));
}

/// A translated packet has the wanted tuple, checksums as right or wrong as before, and nothing else that is new;
/// translated back it is what it was.
fn translation(frame: &[u8], parsed: &Parsed, reading: &Reading, input: &Input) {
    let to = input.target(&parsed.key, parsed.v4);
    let mut bytes = frame.to_vec();
    let done = translate(&mut Slice(&mut bytes), parsed, &to, input.flags);
    assert_eq!(done, Some(()));

    let checksum = parsed.checksum_offset();
    let ports = match reading.content {
        Content::Echo(_) => parsed.l4 + 4..parsed.l4 + 6,
        _ => parsed.l4..parsed.l4 + 4,
    };
    let network = if reading.v4 {
        [ETHERNET + 10..ETHERNET + 12, ETHERNET + 12..ETHERNET + 20]
    } else {
        [0..0, ETHERNET + 8..ETHERNET + 40]
    };
    let [network_checksum, addresses] = network;
    only_changed(
        frame,
        &bytes,
        &[network_checksum, addresses, ports, checksum..checksum + 2],
    );

    let Ok(after) = reference::read(&bytes) else {
        panic!("no longer a packet");
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

    let Ok(parsed_after) = parse_twice(&bytes) else {
        panic!("no longer accepted");
    };
    same_meaning(&bytes, &Ok(parsed_after), &Ok(after));
    assert_eq!(parsed_after.key, to);
    let done = translate(
        &mut Slice(&mut bytes),
        &parsed_after,
        &parsed.key,
        REWRITE_SRC | REWRITE_DST,
    );
    assert_eq!(done, Some(()));
    let fields = [ETHERNET + 10, checksum];
    let fields = &fields[usize::from(!reading.v4)..];
    assert_eq!(
        one_zero(&bytes, fields),
        one_zero(frame, fields),
        "there and back"
    );
}

/// Bytes outside the ranges are as they were.
fn only_changed(before: &[u8], after: &[u8], ranges: &[Range<usize>]) {
    assert_eq!(before.len(), after.len());
    for (at, (old, new)) in before.iter().zip(after).enumerate() {
        assert!(
            old == new || ranges.iter().any(|range| range.contains(&at)),
            "byte {at}"
        );
    }
}

/// Zero has two forms in ones' complement, and an update may end with either: here it is all ones in these checksums.
fn one_zero(frame: &[u8], checksums: &[usize]) -> Vec<u8> {
    let mut bytes = frame.to_vec();
    for at in checksums {
        if bytes[*at..*at + 2] == [0, 0] {
            bytes[*at..*at + 2].fill(0xff);
        }
    }
    bytes
}
