//! Packets truncated at every length.

use netpath_common::reason::Verdict;
use netpath_tests::{
    packet::{Packet, SYN},
    prog::{
        ENDPOINT_IN, ENDPOINT_OUT, Family, MAC_OUTSIDE, MAC_UPLINK, PacketContext, Prog, Setup,
        UPLINK_EGRESS, UPLINK_INGRESS, gateway_mac, sandbox_mac, verdict,
    },
};

const ETHERNET: usize = 14;

/// Packets by what follows their addresses.
fn shapes(family: Family) -> Vec<fn(Packet) -> Packet> {
    let mut shapes: Vec<fn(Packet) -> Packet> = vec![
        |packet| packet.tcp(61_500, 8080, SYN),
        |packet| {
            packet
                .tcp(61_500, 8080, SYN)
                .tcp_options(&[2, 4, 5, 0xb4, 1, 3, 3, 7])
        },
        |packet| packet.udp(61_500, 5353),
        |packet| packet.echo_request(7),
        |packet| packet.icmp(3, 4, [0, 0, 5, 0]),
        |packet| packet.protocol(50),
        |packet| packet.udp(61_500, 5353).fragment(0, true),
    ];
    if family.is_v4() {
        shapes.push(|packet| packet.options(&[7, 39, 4]).udp(61_500, 5353));
        shapes.push(|packet| packet.options(&[1; 40]).tcp(61_500, 8080, SYN));
    } else {
        shapes.push(|packet| packet.extension(0, &[5, 2, 0, 0, 1, 0]).udp(61_500, 5353));
        shapes.push(|packet| {
            packet
                .extension(60, &[1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
                .extension(43, &[253, 0, 0, 0, 0, 0])
                .tcp(61_500, 8080, SYN)
        });
    }
    shapes
}

/// Programs and devices, each with a packet that uses most of the program's steps.
fn places(family: Family) -> [(&'static str, &'static str, Packet); 5] {
    let inbound = Packet::ip(family.client(), family.host()).eth(MAC_OUTSIDE, MAC_UPLINK);
    let outbound = Packet::ip(family.sandbox(1), family.client());
    let sibling = Packet::ip(family.sandbox(1), family.host2());
    let inside = |packet: Packet| packet.eth(sandbox_mac(1), gateway_mac(1));
    [
        (UPLINK_INGRESS, "eth0", inbound.clone()),
        (
            UPLINK_EGRESS,
            "eth0",
            outbound.clone().eth(MAC_UPLINK, MAC_OUTSIDE),
        ),
        (ENDPOINT_IN, "ve1", inside(outbound)),
        (ENDPOINT_IN, "ve1", inside(sibling)),
        (ENDPOINT_OUT, "ve1", inbound),
    ]
}

/// Runs a program on every prefix of a packet.
fn each_length(prog: &mut Prog, check: impl Fn(&mut Prog, &str, &str, &[u8], &[u8])) {
    for family in Family::BOTH {
        for (program, device, base) in places(family) {
            for shape in shapes(family) {
                let packet = shape(base.clone()).build();
                // A test run refuses a packet without a complete network header; unit tests of the parser cover those.
                let least = ETHERNET + if family.is_v4() { 20 } else { 40 };
                for length in least..=packet.len() {
                    check(prog, program, device, &packet, &packet[..length]);
                }
            }
        }
    }
}

#[test]
fn truncated_packet_is_neither_changed_nor_forwarded() {
    Prog::with(Setup::default(), |prog| {
        each_length(prog, |prog, program, device, original, truncated| {
            let outcome = prog.run(program, &PacketContext::at(device), truncated);
            let found = verdict(outcome.verdict);
            assert!(found.is_some(), "{program}: {:#x}", outcome.verdict);
            if truncated.len() < original.len() {
                assert_ne!(found, Some(Verdict::Forward), "{program}: {truncated:02x?}");
                assert_eq!(outcome.packet, truncated, "{program}");
                assert!(prog.entries().is_empty(), "{program}: {truncated:02x?}");
            }
            prog.forget_flows();
        });
    });
}

/// The packet with a length field that matches the truncated length.
fn with_length(truncated: &[u8]) -> Option<Vec<u8>> {
    let mut packet = truncated.to_vec();
    let is_v4 = packet.get(12..14)? == [8, 0];
    let (at, before) = if is_v4 { (2, 0) } else { (4, 40) };
    let length = u16::try_from(packet.len().checked_sub(ETHERNET + before)?).ok()?;
    let field = packet.get_mut(ETHERNET + at..ETHERNET + at + 2)?;
    field.copy_from_slice(&length.to_be_bytes());
    Some(packet)
}

#[test]
fn short_packet_is_changed_only_in_its_headers() {
    Prog::with(Setup::default(), |prog| {
        each_length(prog, |prog, program, device, original, truncated| {
            let Some(packet) = with_length(truncated) else {
                return;
            };
            let outcome = prog.run(program, &PacketContext::at(device), &packet);
            let found = verdict(outcome.verdict);
            assert!(found.is_some(), "{program}: {:#x}", outcome.verdict);
            assert_eq!(outcome.packet.len(), packet.len(), "{program}");
            let payload = original.len() - 16;
            if packet.len() > payload {
                assert_eq!(outcome.packet[payload..], packet[payload..], "{program}");
            }
            prog.forget_flows();
        });
    });
}
