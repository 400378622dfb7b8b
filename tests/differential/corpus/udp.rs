//! Datagrams (U-1 to U-8, N-2, R-3).

use netpath_tests::packet::{ACK, Checksum, Packet, RST, SYN};

use crate::{
    pair::End,
    sequence::{Flow, Group, IcmpError, Protocol, Remote, Sequence},
};

use super::{FAMILIES, PATHS, flow};

const SIZES: [usize; 9] = [0, 1, 2, 3, 7, 8, 1_001, 1_431, 1_432];

/// All sequences of this group.
pub fn sequences() -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for v6 in FAMILIES {
        for path in PATHS {
            let name = |what: &str| Sequence::new(Group::Udp, v6, format!("{}: {what}", path.0));
            let udp = flow(Protocol::Udp, path);
            sequences.push(
                name("request and reply")
                    .forward(udp, |p| p)
                    .back(udp, |p| p),
            );
            sequences.push(many(name("several packets in both directions"), udp));
            sequences.push(
                name("the server sends first")
                    .back(udp, |p| p)
                    .forward(udp, |p| p),
            );
            sequences.push(sizes(name("sizes"), udp));
            sequences.push(
                name("wrong checksums stay wrong")
                    .forward(udp, |p| p.checksum(Checksum::WrongBy(1)))
                    .back(udp, |p| p.checksum(Checksum::WrongBy(0x8000)))
                    .forward(udp, |p| p.checksum(Checksum::WrongBy(0xfffe))),
            );
            sequences.push(
                name("no checksum")
                    .forward(udp, |p| p.checksum(Checksum::Absent))
                    .back(udp, |p| p.checksum(Checksum::Absent))
                    .forward(udp, |p| p),
            );
            sequences.push(every_checksum(name("checksums near zero"), udp));
            let second = udp.number(1);
            sequences.push(
                name("two flows")
                    .forward(udp, |p| p)
                    .forward(second, |p| p)
                    .back(second, |p| p)
                    .back(udp, |p| p),
            );
        }
        sequences.extend(ports(v6));
        sequences.extend(collisions(v6));
        sequences.extend(published_source_ports(v6));
    }
    sequences
}

fn many(mut sequence: Sequence, udp: Flow) -> Sequence {
    for _ in 0..3 {
        sequence = sequence
            .forward(udp, |p| p.payload(b"question"))
            .back(udp, |p| p.payload(b"answer"))
            .back(udp, |p| p.payload(b"more of it"));
    }
    sequence
}

fn sizes(sequence: Sequence, udp: Flow) -> Sequence {
    SIZES.iter().fold(sequence, |sequence, size| {
        let payload = vec![0xa5; *size];
        let same = payload.clone();
        sequence
            .forward(udp, move |p| p.payload(&payload))
            .back(udp, move |p| p.payload(&same))
    })
}

/// Payloads that differ by one, so that a checksum before or after translation is zero or close to zero.
fn every_checksum(sequence: Sequence, udp: Flow) -> Sequence {
    (0..4_u32).fold(sequence, |sequence, step| {
        sequence.frames(udp, true, move |packet| aimed(packet, step))
    })
}

/// Eight datagrams whose checksums, as sent, are close to zero.
fn aimed(packet: Packet, step: u32) -> Vec<Vec<u8>> {
    let probe = packet.clone().payload(&[0, 0]).build();
    let field = probe.len() - 4;
    let checksum = u16::from_be_bytes([probe[field], probe[field + 1]]);
    (0..8_u16)
        .map(|offset| {
            let word = checksum.wrapping_add(offset).wrapping_sub(4);
            let word = word.wrapping_add((step * 2) as u16);
            packet.clone().payload(&word.to_be_bytes()).build()
        })
        .collect()
}

/// Source ports that netpath keeps, and ports that it must not keep (R-3, U-3a).
fn ports(v6: bool) -> Vec<Sequence> {
    let ports = [
        1, 53, 123, 512, 1_023, 1_024, 4_789, 8_053, 8_080, 32_767, 32_768, 60_999, 65_535,
    ];
    let sequence = |protocol: Protocol, port: u16| {
        let flow = Flow::out(protocol, End::A2).with_sport(port);
        let name = format!("out: {} from port {port}", protocol.name());
        super::opened(Sequence::new(Group::Udp, v6, name), flow)
            .forward(flow, |p| p)
            .back(flow, |p| p)
    };
    let udp = ports.iter().map(|port| sequence(Protocol::Udp, *port));
    let tcp = ports.iter().map(|port| sequence(Protocol::Tcp, *port));
    udp.chain(tcp).collect()
}

/// A published port from which its sandbox or another sandbox also sends.
fn published_source_ports(v6: bool) -> Vec<Sequence> {
    let name = |what: &str| Sequence::new(Group::Udp, v6, what);
    let mut router = IcmpError::closed(v6);
    router.from = Some(Remote::Router);
    let mut sequences = Vec::new();
    for server in [End::A2, End::B1] {
        let udp = Flow::published(Protocol::Udp, server);
        let (outer, inner) = server.published(true);
        sequences.push(
            name(&format!(
                "published: {outer} to {inner}, the server sends first, then an ICMP error"
            ))
            .back(udp, |p| p)
            .forward(udp, |p| p)
            .back(udp, |p| p)
            .icmp_error(udp, false, router.clone())
            .forward(udp, |p| p),
        );
    }
    let shadow = Flow::out(Protocol::Tcp, End::B1).with_sport(8_080);
    sequences.push(
        name("out: from a port that another sandbox publishes, and refused")
            .forward(shadow, |p| p.flags(SYN))
            .back(shadow, |p| p.flags(RST | ACK))
            .back(shadow, |p| p),
    );
    sequences
}

/// Flows that compete for a port (U-3, T-7).
fn collisions(v6: bool) -> Vec<Sequence> {
    let mut sequences = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let name =
            |what: &str| Sequence::new(Group::Udp, v6, format!("out: {} {what}", protocol.name()));
        let same = |id: u16, client| Flow::out(protocol, client).number(id).with_sport(20_500);
        let (one, two, three) = (same(0, End::A1), same(1, End::A2), same(2, End::B1));
        let both = super::opened(name("from the same port of two sandboxes"), one);
        let both = super::opened(both, two)
            .forward(one, |p| p)
            .back(two, |p| p);
        sequences.push(both.back(one, |p| p).forward(two, |p| p));
        let all = super::opened(name("from the same port of three sandboxes"), one);
        let all = super::opened(super::opened(all, two), three);
        sequences.push(all.back(one, |p| p).back(two, |p| p).back(three, |p| p));
        let elsewhere = two.with(Remote::Second);
        let apart = super::opened(name("from the same port to different hosts"), one);
        let apart = super::opened(apart, elsewhere).back(one, |p| p);
        sequences.push(apart.back(elsewhere, |p| p));
        let second = one.number(3).with(Remote::Second);
        let mapping = super::opened(name("from one port to two hosts"), one);
        let mapping = super::opened(mapping, second).back(one, |p| p);
        sequences.push(mapping.back(second, |p| p));
        let other_port = one.number(4).with_dport(4_433);
        let mapping = super::opened(name("from one port to two ports"), one);
        sequences.push(super::opened(mapping, other_port).back(one, |p| p));
        let published = Flow::published(protocol, End::A1);
        let mixed = super::opened(name("and a published port at the same time"), one);
        let mixed = super::opened(mixed, published.number(5));
        sequences.push(mixed.back(one, |p| p).back(published.number(5), |p| p));
    }
    sequences
}
