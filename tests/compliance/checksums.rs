//! Updated checksums, and absent UDP checksums.

use netpath_common::addr::MacAddr;
use netpath_tests::{
    Capture,
    fixture::{HOST, NETWORK_A, OUTSIDE},
    packet::{Checksum, Packet, SYN},
    peer,
};

use crate::{
    flow::{Ends, Flow, FlowProtocol},
    gate::Offloads,
};

const PUBLISH: [&str; 2] = ["8080:80", "8080:80/udp"];
/// Packets of each kind with different identifications and payloads, so that every carry occurs.
const FRAMES: u16 = 400;

/// N-1: translated packets have correct checksums, verified by tshark and by the receiving stacks.
pub fn arithmetic(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("web", "network_a", &PUBLISH);
    let ends = Ends::new(&fixture, &sandbox);
    let (out, inward) = (
        Capture::first(fixture.outside(), "eth0", 100_000),
        Capture::first(&sandbox.netns, "eth0", 100_000),
    );
    for family in [0, 1] {
        for protocol in [FlowProtocol::Tcp, FlowProtocol::Udp, FlowProtocol::Echo] {
            let flow = ends.outbound(family, protocol, 5000);
            send(family, protocol, &flow.sent_inside(), |packet| {
                ends.send_inside(packet);
            });
        }
        for protocol in [FlowProtocol::Tcp, FlowProtocol::Udp] {
            let flow = ends.inbound(family, protocol, 4000);
            send(family, protocol, &flow.sent_outside(), |packet| {
                ends.send_outside(packet);
            });
        }
    }
    // An incorrect checksum must stay incorrect: a corrected one would hide the corruption of the packet.
    ends.outside.drain();
    let udp = ends.outbound(0, FlowProtocol::Udp, 5001);
    udp.leaves("a wrong UDP checksum", |packet| {
        packet.checksum(Checksum::WrongBy(0x1234))
    });
    let frames = u64::from(FRAMES);
    for (netns, capture, sender, wanted, wrong) in [
        (fixture.outside(), &out, ends.host, 6 * frames + 1, 1),
        (&sandbox.netns, &inward, ends.gateway, 4 * frames, 0),
    ] {
        let sender = format!("eth.src == {} && ({REMOTES})", MacAddr(sender));
        let own = format!("{sender} && !({ERRORS})");
        assert_eq!(capture.decoded(netns, &own), wanted, "frames");
        let bad = capture.decoded(netns, &format!("{sender} && ({BAD})"));
        assert_eq!(bad, wrong, "wrong checksums");
    }
    drop((out, inward));

    let _server = peer::serve_blobs(&sandbox.netns, 80);
    let _outside = peer::serve_blobs(fixture.outside(), 7000);
    for family in [0, 1] {
        let (host, outside) = ([HOST.0, HOST.1][family], [OUTSIDE.0, OUTSIDE.1][family]);
        peer::exchange(fixture.outside(), host, 8080, 8);
        peer::exchange(&sandbox.netns, outside, 7000, 8);
    }
    fixture.topology.assert_clean();
}

/// Display filter of tshark for incorrect checksums.
const BAD: &str = "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0 || \
                   icmp.checksum.status == 0 || icmpv6.checksum.status == 0";
/// Errors of a stack about received packets, which quote the addresses.
const ERRORS: &str = "icmp.type == 3 || icmp.type == 11 || icmpv6.type < 128";
/// Either end is [`crate::flow::REMOTE`].
const REMOTES: &str = "ip.addr == 203.0.113.7 || ipv6.addr == 2001:db8:203::7";

fn send(family: usize, protocol: FlowProtocol, packet: &Packet, send: impl Fn(&Packet)) {
    for number in 0..FRAMES {
        let mut packet = packet.clone();
        if family == 0 {
            packet = packet.id(number.wrapping_mul(163));
        }
        if protocol == FlowProtocol::Tcp {
            packet = packet.flags(SYN).numbers(u32::from(number) << 16, 0);
        }
        let length = usize::from(number % 7);
        let [high, low] = number.wrapping_mul(40_503).to_be_bytes();
        send(&packet.payload(&[high, low, low, high, 0xff, 0xff, 1][..length]));
    }
}

/// N-2: an absent UDP checksum stays absent over IPv4, and a computed checksum of zero is sent as 0xffff.
pub fn zero(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("web", "network_a", &PUBLISH);
    let ends = Ends::new(&fixture, &sandbox);
    let absent = |packet: Packet| packet.checksum(Checksum::Absent);
    let out = ends.outbound(0, FlowProtocol::Udp, 5000);
    out.leaves("no checksum, outbound", absent);
    out.arrives("no checksum, reply", absent);
    let inward = ends.inbound(0, FlowProtocol::Udp, 4000);
    inward.arrives("no checksum, inbound", absent);
    inward.leaves("no checksum, reply", absent);
    for family in [0, 1] {
        let out = ends.outbound(family, FlowProtocol::Udp, 5000);
        let payload = summing_to_zero(family, &out.received_outside());
        out.leaves("a zero checksum, outbound", |packet| {
            packet.payload(&payload)
        });
        let payload = summing_to_zero(family, &out.received_inside());
        out.arrives("a zero checksum, reply", |packet| packet.payload(&payload));
        let inward: Flow<'_> = ends.inbound(family, FlowProtocol::Udp, 4000);
        let payload = summing_to_zero(family, &inward.received_inside());
        inward.arrives("a zero checksum, inbound", |packet| {
            packet.payload(&payload)
        });
    }
}

/// The payload for which a packet's computed UDP checksum is zero, so that 0xffff is sent.
fn summing_to_zero(family: usize, packet: &Packet) -> [u8; 2] {
    let field = [14 + 20 + 6, 14 + 40 + 6][family];
    let found = (0..=u16::MAX).map(u16::to_be_bytes).find(|payload| {
        let bytes = packet.clone().payload(payload).build();
        bytes[field..field + 2] == [0xff, 0xff]
    });
    found.expect("a payload with this checksum")
}
