//! Checks that the comparison finds differences.

use netpath_tests::packet::{Checksum, Packet, fragments::Assembled};

use crate::{
    compare::{StepResult, compare},
    differences::expected,
    pair::{End, Map},
    run::Oracle,
    sequence::{Flow, Group, IcmpError, Protocol, Sequence},
};

/// Unexpected differences between the packets that the nodes are assumed to have delivered.
fn found(netfilter: &[(End, Packet)], netpath: &[(End, Packet)]) -> Vec<String> {
    let flow = Flow::out(Protocol::Udp, End::A1);
    let sequence = Sequence::new(Group::Udp, false, "control").forward(flow, |p| p);
    let result = |arrived: &[(End, Packet)]| StepResult {
        sent: vec![sent().build()],
        arrived: arrived
            .iter()
            .map(|(end, packet)| {
                let (frame, fragments) = (packet.build(), String::new());
                (*end, Assembled { frame, fragments })
            })
            .collect(),
    };
    let mut found = Vec::new();
    compare(
        &Map::example(),
        &sequence,
        &[result(netfilter)],
        &[result(netpath)],
        |difference| {
            if !expected().any(|expected| (expected.is)(&difference)) {
                found.push(difference.to_string());
            }
        },
    );
    found
}

fn sent() -> Packet {
    let map = Map::example();
    let (source, peer) = (map.sandbox(End::A1, false), "100.64.0.1");
    Packet::ip(source, peer.parse().expect("an address")).udp(20_000, 53)
}

fn expected_packet() -> Packet {
    sent().source(Map::host(false)).routed()
}

pub fn equal_packets_have_no_difference() {
    let both = [(End::Outside, expected_packet())];
    assert_eq!(found(&both, &both), [""; 0]);
    assert_eq!(found(&[], &[]), [""; 0]);
}

pub fn every_changed_field_is_found() {
    type Change = fn(Packet) -> Packet;
    let changes: [(&str, Change); 14] = [
        ("eth.source", |p| p.eth([6; 6], [0; 6])),
        ("eth.destination", |p| p.eth_destination([6; 6])),
        ("ip.tos", |p| p.tos(2)),
        ("ip.id", |p| p.id(0x1235)),
        ("ip.ttl", |p| p.ttl(62)),
        ("ip.source", |p| p.source(Map::gateway(End::A1, false))),
        ("ip.destination", |p| {
            p.destination(Map::gateway(End::A1, false))
        }),
        ("ip.options", |p| p.options(&[1, 1, 1, 0])),
        ("ip.checksum", |p| p.header_error(1)),
        ("ip.fragment", |p| p.fragment(0, true)),
        ("source port", |p| p.sport(20_001)),
        ("destination port", |p| p.dport(54)),
        ("checksum", |p| p.checksum(Checksum::WrongBy(1))),
        ("payload", |p| p.payload(&[0; 16])),
    ];
    for (field, change) in changes {
        let found = found(
            &[(End::Outside, expected_packet())],
            &[(End::Outside, change(expected_packet()))],
        );
        assert!(
            found
                .iter()
                .any(|text| text.contains(&format!("    {field}: "))),
            "{field}: {found:?}"
        );
    }
}

pub fn packet_at_one_node_only_is_found() {
    let delivered = [(End::Outside, expected_packet())];
    assert_eq!(found(&delivered, &[]).len(), 1, "missing");
    assert_eq!(found(&[], &delivered).len(), 1, "extra");
    assert_eq!(
        found(&delivered, &[(End::A2, expected_packet())]).len(),
        2,
        "elsewhere"
    );
    let twice = [
        (End::Outside, expected_packet()),
        (End::Outside, expected_packet()),
    ];
    assert_eq!(found(&delivered, &twice).len(), 1, "twice");
}

pub fn changed_port_within_a_sequence_is_found() {
    let ends = |port| expected_packet().sport(port);
    let kept = [
        (End::Outside, ends(999)),
        (End::Outside, ends(999).payload(&[1])),
    ];
    let changed = [
        (End::Outside, ends(5_000)),
        (End::Outside, ends(5_001).payload(&[1])),
    ];
    assert_ne!(found(&kept, &changed), [""; 0]);
}

pub fn difference_in_a_quoted_packet_is_found() {
    let error = |quoted: Packet| {
        let bytes = quoted.build()[14..].to_vec();
        let router = "100.66.0.1".parse().expect("an address");
        let packet = Packet::ip(router, Map::example().sandbox(End::A1, false));
        [(End::A1, packet.icmp(3, 3, [0; 4]).payload(&bytes))]
    };
    let wrong = [
        sent().dport(54),
        sent().tos(2),
        sent().checksum(Checksum::WrongBy(5)),
        expected_packet(),
    ];
    for wrong in wrong {
        assert_ne!(found(&error(sent()), &error(wrong)), [""; 0]);
    }
}

pub fn node_without_forwarding_is_found() {
    let mut oracle = Oracle::new();
    let flow = Flow::out(Protocol::Udp, End::A1);
    let sequence = || {
        Sequence::new(Group::Udp, false, "control")
            .forward(flow, |p| p)
            .back(flow, |p| p)
            .icmp_error(flow, true, IcmpError::closed(false))
    };
    assert!(oracle.check(&sequence()), "both forward");
    oracle
        .netfilter_host()
        .exec("iptables -I FORWARD -p udp --dport 8055 -j DROP");
    assert!(!oracle.check(&sequence()), "one does not forward");
    assert_eq!(oracle.failures(), ["udp/v4/control"]);
}
