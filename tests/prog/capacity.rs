//! The memory of a full table, and the flows that survive in it.

use netpath_common::{
    addr::Be16,
    flow::{FlowEntry, FlowKey, ORIGINAL, REPLY},
    maps::{BYTES_PER_FLOW, LEAST_DEFAULT_FLOWS},
    reason::Reason,
};
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{Family, PacketContext, Prog, Setup, UPLINK_EGRESS, UPLINK_INGRESS},
};

#[test]
fn full_table_takes_documented_memory() {
    let mut setup = Setup::default();
    setup.limits.flows = LEAST_DEFAULT_FLOWS;
    Prog::with(setup, |prog| {
        let family = Family::BOTH[0];
        let memory = |prog: &Prog| -> u64 {
            let maps = prog.maps();
            let maps = maps
                .iter()
                .filter(|map| matches!(map.name.as_str(), "flows" | "flow_index"));
            maps.map(|map| map.bytes).sum()
        };
        let empty = memory(prog);
        for number in 0..LEAST_DEFAULT_FLOWS {
            let key = FlowKey {
                src: family.sandbox(1).into(),
                dst: family.client().into(),
                sport: Be16::new(number as u16),
                dport: Be16::new((number >> 16) as u16),
                protocol: 6,
                ..FlowKey::default()
            };
            for (key, role) in [(key, ORIGINAL), (key.reversed(), REPLY)] {
                let entry = FlowEntry {
                    role,
                    ..FlowEntry::default()
                };
                prog.put_entry(&key, &entry);
            }
        }
        let flows = u64::from(LEAST_DEFAULT_FLOWS);
        let full = memory(prog);
        if full == empty {
            eprintln!("skipped: this kernel does not count the memory in use (Linux 6.4)");
            return;
        }
        println!(
            "{} bytes for a flow, of which {} before there is one",
            full / flows,
            empty / flows
        );
        assert!(
            full.abs_diff(flows * BYTES_PER_FLOW) < flows * BYTES_PER_FLOW / 100,
            "{full} bytes for {flows} flows"
        );
    });
}

/// Connections that exist before the floods.
const CONNECTIONS: u32 = 65_536;
/// Room for further flows.
const ROOM: u32 = 8_192;

/// Source and destination port of a connection.
fn ports(number: u32) -> (u16, u16) {
    (
        21_000 + (number % 32_768) as u16,
        80 + (number / 32_768) as u16,
    )
}

/// A segment of a connection from the sandbox, and the reply from outside.
fn segments(family: Family, number: u32, flags: [u8; 2]) -> [Packet; 2] {
    let (inner, outer) = ports(number);
    [
        Packet::ip(family.sandbox(1), family.client()).tcp(inner, outer, flags[0]),
        Packet::ip(family.client(), family.host()).tcp(outer, inner, flags[1]),
    ]
}

/// Opens the first connection with packets, and writes the entries of the others like it.
fn connect(prog: &mut Prog, family: Family) {
    let [syn, syn_ack] = segments(family, 0, [SYN, SYN | ACK]);
    let [ack, _] = segments(family, 0, [ACK, ACK]);
    prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &syn.build());
    prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &syn_ack.build());
    prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &ack.build());
    let like = prog.flows()[0].clone();
    let (_, reply) = like.reply.expect("reply");
    for number in 1..CONNECTIONS {
        let (inner, outer) = ports(number);
        let ports = |mut key: FlowKey| {
            (key.sport, key.dport) = (Be16::new(inner), Be16::new(outer));
            key
        };
        let [key, to] = [like.key, like.entry.to].map(ports);
        let entry = FlowEntry { to, ..like.entry };
        prog.put_entry(&key, &entry);
        let back = FlowEntry {
            to: key.reversed(),
            ..reply
        };
        prog.put_entry(&to.reversed(), &back);
    }
}

/// RFC 6888 REQ-11: no established flow is removed to make room.
#[test]
fn established_connections_survive_floods() {
    let mut setup = Setup::default();
    setup.limits.flows = CONNECTIONS + ROOM;
    setup.limits.half_open = Some(4_096);
    setup.limits.flows_per_sandbox = Some(u32::MAX);
    Prog::with(setup, |prog| {
        let family = Family::BOTH[0];
        connect(prog, family);
        let address = |number: u32| {
            let [_, _, high, low] = number.to_be_bytes();
            std::net::Ipv4Addr::new(198, 51, high, low).into()
        };
        let datagram = |prog: &mut Prog, number: u32, replied: bool| {
            let (peer, port) = (address(number), 53_000);
            let out = Packet::ip(family.sandbox(2), peer).udp(port, 53);
            prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &out.build());
            if replied {
                let back = Packet::ip(peer, family.host()).udp(53, port);
                prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &back.build());
            }
        };
        for number in 0..40_000 {
            datagram(prog, number, false);
        }
        for number in 0..40_000 {
            let request = Packet::ip(address(number), family.host()).tcp(40_000, 8090, SYN);
            prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &request.build());
        }
        // These flows are not half-open, so that the table fills up. They are not sustained and are evicted for each other.
        for number in 0..3 * ROOM {
            datagram(prog, number, true);
        }
        let counters = prog.counters();
        let count = |reason| {
            counters
                .iter()
                .find(|count| count.0 == reason)
                .map(|count| count.1)
        };
        assert_eq!(count(Reason::TableFull), Some(0));
        assert!(count(Reason::EvictedTableFull).is_some_and(|count| count > u64::from(ROOM)));
        let flows = prog.flows_of(1);
        assert_eq!(flows, CONNECTIONS as usize, "of {CONNECTIONS} connections");
        for number in (0..CONNECTIONS).step_by(16) {
            let [out, back] = segments(family, number, [ACK, ACK]).map(|packet| packet.build());
            let sent = prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &out);
            let received = prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &back);
            assert!(
                sent.packet != out && received.packet != back,
                "connection {number}"
            );
        }
    });
}
