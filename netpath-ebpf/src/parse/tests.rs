use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    packet::slice::Slice,
    sample::{Kind, sample, sample_of},
};

fn parse_bytes(bytes: &mut [u8]) -> Result<Parsed, Reason> {
    // Values of a previous packet must have no effect.
    let mut parsed = Parsed {
        key: FlowKey {
            sport: Be16::new(7),
            dport: Be16::new(7),
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
        family: Family::V4,
        ttl: 7,
        tos: 7,
        tcp_flags: 0xff,
        icmp_type: 7,
    };
    parse(&Slice(bytes), &mut parsed).map(|()| parsed)
}

/// The smallest possible end of the transport header, from the start of the packet.
fn least_end(parsed: &Parsed) -> usize {
    parsed.l3
        + parsed.l4
        + match (parsed.transport, parsed.key.protocol) {
            (Transport::Flow, TCP) => 20,
            (Transport::Flow | Transport::IcmpError | Transport::LinkControl, _) => 8,
            _ => 0,
        }
}

/// An Ethernet header and `body`, which is often valid IP.
fn framed(v4: bool, version: bool, mut body: Vec<u8>) -> Vec<u8> {
    if version && let Some(first) = body.first_mut() {
        *first = if v4 { 0x40 | (*first & 0x0f) } else { 0x60 };
    }
    let ethertype = if v4 { ETHERTYPE_IPV4 } else { ETHERTYPE_IPV6 };
    let mut bytes = vec![0; 12];
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(body);
    bytes
}

fn patched(mut bytes: Vec<u8>, at: usize, value: &[u8]) -> Vec<u8> {
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_parsed_or_rejected(mut bytes in vec(any::<u8>(), 0..200)) {
        if let Ok(parsed) = parse_bytes(&mut bytes) {
            prop_assert!(least_end(&parsed) <= bytes.len());
        }
    }

    #[test]
    fn random_network_header_is_parsed_or_rejected(
        v4: bool, version: bool, body in vec(any::<u8>(), 0..700), next in 0..7_u8, at in any::<Index>(),
    ) {
        let mut body = body;
        // Chains of extension headers are rare in random bytes.
        let number = [0, 43, 44, 60, TCP, UDP, ICMPV6][usize::from(next)];
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = number;
        }
        let mut bytes = framed(v4, version, body);
        let before = bytes.clone();
        if let Ok(parsed) = parse_bytes(&mut bytes) {
            prop_assert_eq!(parsed.family == Family::V4, v4);
            prop_assert!(parsed.transport == Transport::Other
                || parsed.transport == Transport::LaterFragment
                || least_end(&parsed) <= bytes.len());
        }
        prop_assert_eq!(bytes, before, "parsing changes nothing");
    }

    #[test]
    fn valid_packet_is_parsed(sample in sample()) {
        let mut bytes = sample.build();
        let parsed = parse_bytes(&mut bytes);
        prop_assert!(parsed.is_ok(), "{parsed:?}");
        let parsed = parsed.unwrap();
        prop_assert_eq!(parsed.key, sample.key());
        prop_assert_eq!((parsed.key.pad, parsed.key.pad2), (0, 0));
        prop_assert_eq!(parsed.l3 + parsed.l4, sample.l4());
        prop_assert_eq!(parsed.transport, Transport::Flow);
        prop_assert_eq!((parsed.family, parsed.ttl), (sample.family(), sample.ttl));
        let flags = if let Kind::Tcp(flags) = sample.kind { flags } else { 0 };
        prop_assert_eq!(parsed.tcp_flags, flags);
        let opens = match sample.kind {
            Kind::Tcp(flags) => flags & (SYN | ACK | RST | FIN) == SYN,
            Kind::Udp | Kind::Request => true,
            Kind::Reply => false,
        };
        prop_assert_eq!(parsed.opens_flow(), opens);
    }

    #[test]
    fn truncated_packet_is_rejected(sample in sample(), at in any::<Index>()) {
        let mut bytes = sample.build();
        let length = at.index(bytes.len());
        bytes.truncate(length);
        prop_assert!(parse_bytes(&mut bytes).is_err(), "{length} bytes");
    }

    #[test]
    fn truncated_packet_with_matching_length_is_not_read_beyond_its_end(sample in sample(), at in any::<Index>()) {
        let mut bytes = sample.build();
        let network = ETHERNET + if sample.is_v4() { 20 } else { 40 };
        bytes.truncate(network + at.index(bytes.len() - network));
        let (field, from) = if sample.is_v4() { (2, 0) } else { (4, 40) };
        let length = (bytes.len() - ETHERNET - from) as u16;
        let mut bytes = patched(bytes, ETHERNET + field, &length.to_be_bytes());
        if let Ok(parsed) = parse_bytes(&mut bytes) {
            prop_assert!(least_end(&parsed) <= bytes.len(), "{parsed:?}");
        }
    }

    #[test]
    fn later_fragment_has_no_ports(sample in sample_of(true), offset in 1..0x2000_u16, more: bool) {
        let field = offset | u16::from(more) << 13;
        let mut bytes = patched(sample.build(), ETHERNET + 6, &field.to_be_bytes());
        let parsed = parse_bytes(&mut bytes).unwrap();
        prop_assert_eq!(parsed.transport, Transport::LaterFragment);
        prop_assert_eq!((parsed.key.sport.get(), parsed.key.dport.get()), (0, 0));
    }

    #[test]
    fn ipv6_fragment_header_is_followed(mut sample in sample_of(false), offset in 0..0x2000_u16, more: bool) {
        let field = (offset << 3 | u16::from(more)).to_be_bytes();
        // Its second byte is reserved, and is zero for a body of six bytes.
        sample.extensions.truncate(4);
        sample.extensions.insert(0, (44, vec![field[0], field[1], 0, 0, 0, 9]));
        let mut bytes = sample.build();
        let parsed = parse_bytes(&mut bytes).unwrap();
        if offset == 0 {
            prop_assert_eq!((parsed.key, parsed.l3 + parsed.l4), (sample.key(), sample.l4()));
        } else {
            prop_assert_eq!(parsed.transport, Transport::LaterFragment);
            prop_assert_eq!((parsed.key.sport.get(), parsed.key.dport.get()), (0, 0));
        }
    }

    #[test]
    fn source_is_valid_in_rejected_packet(sample in sample(), at in 0..54_usize, byte: u8) {
        let mut bytes = sample.build();
        let network = if sample.is_v4() { 20 } else { 40 };
        let source = if sample.is_v4() { 12..16 } else { 8..24 };
        let at = at % network;
        prop_assume!(!source.contains(&at));
        bytes[ETHERNET + at] = byte;
        let mut parsed = Parsed::default();
        let _ = parse(&Slice(&mut bytes), &mut parsed);
        prop_assert_eq!(parsed.key.src, sample.src);
    }
}

/// A minimal packet with this ICMP type.
fn icmp(v4: bool, kind: u8) -> Result<Parsed, Reason> {
    let mut header = if v4 {
        let mut header = vec![0; 20];
        header[0] = 0x45;
        header[3] = 28;
        header[9] = ICMP;
        header
    } else {
        let mut header = vec![0; 40];
        header[5] = 8;
        header[6] = ICMPV6;
        header
    };
    header.extend([kind, 0, 0, 0, 0x12, 0x34, 0, 0]);
    parse_bytes(&mut framed(v4, true, header))
}

#[test]
fn icmp_type_selects_transport() {
    let kind = |v4, kind| icmp(v4, kind).map(|parsed| parsed.transport);
    for error in [3, 4, 5, 11, 12] {
        assert_eq!(kind(true, error), Ok(Transport::IcmpError), "{error}");
    }
    for other in [9, 10, 13, 14, 128, 255] {
        assert_eq!(kind(true, other), Ok(Transport::Other), "{other}");
    }
    for error in [1, 2, 3, 4, 127] {
        assert_eq!(kind(false, error), Ok(Transport::IcmpError), "{error}");
    }
    for control in [130, 131, 132, 133, 134, 135, 136, 137, 143] {
        assert_eq!(
            kind(false, control),
            Ok(Transport::LinkControl),
            "{control}"
        );
    }
    for other in [138, 142, 144, 255] {
        assert_eq!(kind(false, other), Ok(Transport::Other), "{other}");
    }
    let request = icmp(true, 8).unwrap();
    assert_eq!(
        (request.key.sport.get(), request.key.dport.get()),
        (0x1234, 0)
    );
    let reply = icmp(false, 129).unwrap();
    assert_eq!((reply.key.sport.get(), reply.key.dport.get()), (0, 0x1234));
}

#[test]
fn header_chain_is_limited() {
    let chain = |count: usize, size: u8| {
        let mut header = vec![0; 40];
        header[6] = 60;
        for number in 1..=count {
            let next = if number == count { 59 } else { 60 };
            header.extend([next, size]);
            header.resize(header.len() + usize::from(size) * 8 + 6, 0);
        }
        let length = (header.len() - 40) as u16;
        parse_bytes(&mut framed(
            false,
            true,
            patched(header, 4, &length.to_be_bytes()),
        ))
    };
    assert!(chain(5, 0).is_ok());
    assert_eq!(chain(6, 0).unwrap_err(), Reason::TooManyHeaders);
    assert!(chain(1, 50).is_ok());
    assert_eq!(chain(1, 255).unwrap_err(), Reason::TooManyHeaders);
    assert_eq!(chain(2, 40).unwrap_err(), Reason::TooManyHeaders);
}

#[test]
fn frame_without_ip_header_is_rejected() {
    assert_eq!(parse_bytes(&mut [0; 13]).unwrap_err(), Reason::Malformed);
    assert_eq!(parse_bytes(&mut [0; 60]).unwrap_err(), Reason::NotOurs);
    for v4 in [true, false] {
        let refused = parse_bytes(&mut framed(v4, true, Vec::new()));
        assert_eq!(refused.unwrap_err(), Reason::Malformed);
    }
}
