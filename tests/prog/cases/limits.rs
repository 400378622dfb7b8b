//! Full maps: which flow is evicted, and which packet is dropped.

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, FIN, Packet, RST, SYN},
    prog::{
        ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, Prog, Setup, UPLINK_EGRESS, UPLINK_INGRESS,
        endpoint, gateway_mac, sandbox_mac,
    },
    table::Table,
};

use crate::{
    case,
    case::{Case, Send, send, table},
};

/// The tables of this module. Each has maps of its own size.
pub fn tables() -> Vec<Table> {
    let mut at_quota = Setup::sized(64, 64);
    at_quota.limits.flows_per_sandbox = Some(QUOTA);
    vec![
        table("full_table", Setup::sized(2, 64), full),
        table("half_open_ring", Setup::sized(64, 2), half_open),
        table("sandbox_quota", at_quota, quota),
    ]
}

/// All cases of this module.
pub fn cases() -> Vec<Case> {
    [full(), half_open(), quota()]
        .into_iter()
        .flatten()
        .collect()
}

fn out(family: Family, sport: u16, flags: u8) -> Send {
    out_of(family, 1, sport, flags)
}

fn out_of(family: Family, slot: u32, sport: u16, flags: u8) -> Send {
    let packet = Packet::ip(family.sandbox(slot), family.client())
        .eth(MAC_UPLINK, MAC_OUTSIDE)
        .tcp(sport, 80, flags);
    send(UPLINK_EGRESS, "eth0", &packet)
        .is(Reason::Translated)
        .sends(&packet.clone().source(family.host()))
}

fn back(family: Family, sport: u16, flags: u8) -> Send {
    back_to(family, 1, sport, flags)
}

fn back_to(family: Family, slot: u32, sport: u16, flags: u8) -> Send {
    let packet = Packet::ip(family.client(), family.host())
        .eth(MAC_OUTSIDE, MAC_UPLINK)
        .tcp(80, sport, flags);
    let inside = packet.clone().destination(family.sandbox(slot)).routed();
    send(UPLINK_INGRESS, "eth0", &packet)
        .is(Reason::Inbound)
        .sends(&inside.eth(gateway_mac(slot), sandbox_mac(slot)))
}

fn refused(family: Family, sport: u16) -> Send {
    let packet = Packet::ip(family.sandbox(1), family.client()).tcp(sport, 80, SYN);
    send(UPLINK_EGRESS, "eth0", &packet).is(Reason::TableFull)
}

fn full() -> Vec<Case> {
    let [v4, v6] = Family::BOTH;
    let request = Packet::ip(v4.client(), v4.host()).tcp(40_000, 8080, SYN);
    let established = |case: Case, family: Family, sport: u16, flows: usize| {
        case.then(out(family, sport, SYN).number_of_flows(flows))
            .then(back(family, sport, SYN | ACK))
            .then(out(family, sport, ACK))
    };
    let two = |name: &str| established(established(Case::new(name), v4, 61_001, 1), v6, 61_002, 2);
    vec![
        two("a full table refuses a new flow and keeps existing ones")
            .then(refused(v4, 61_003))
            .then(refused(v6, 61_003))
            .then(out(v4, 61_001, ACK))
            .then(back(v6, 61_002, ACK)),
        two("a full table refuses a published port's client")
            .then(send(UPLINK_INGRESS, "eth0", &request).is(Reason::TableFull)),
        established(
            Case::new("a full table evicts a flow without a reply"),
            v4,
            61_001,
            1,
        )
        .then(out(v6, 61_002, SYN).number_of_flows(2))
        .then(out(v6, 61_003, SYN).number_of_flows(2))
        .then(out(v4, 61_001, ACK)),
        established(
            Case::new("the first entry is removed when the second does not fit"),
            v4,
            61_001,
            1,
        )
        .change(|prog| {
            let (key, entry) = prog.entries()[0];
            let mut other_key = key;
            other_key.protocol = 200;
            prog.put_entry(&other_key, &entry);
            assert_eq!(prog.entries().len(), 3);
        })
        .then(refused(v4, 61_003))
        .change(|prog| assert_eq!(prog.entries().len(), 3)),
    ]
}

fn half_open() -> Vec<Case> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| {
            let established = out(family, 61_001, SYN).number_of_flows(1);
            [
                case(family, "an established flow is never evicted")
                    .then(established)
                    .then(back(family, 61_001, SYN | ACK))
                    .then(out(family, 61_001, ACK))
                    .then(out(family, 61_002, SYN).number_of_flows(2))
                    .then(out(family, 61_003, SYN).number_of_flows(3))
                    .then(out(family, 61_004, SYN).number_of_flows(3))
                    .then(out(family, 61_005, SYN).number_of_flows(3))
                    .then(out(family, 61_006, SYN).number_of_flows(3))
                    .then(back(family, 61_001, ACK))
                    .then(back(family, 61_006, SYN | ACK)),
                case(family, "the oldest half-open flow is evicted first")
                    .then(out(family, 61_001, SYN).number_of_flows(1))
                    .then(out(family, 61_002, SYN).number_of_flows(2))
                    .then(out(family, 61_003, SYN).number_of_flows(2))
                    .then(back(family, 61_002, SYN | ACK))
                    .then(back(family, 61_003, SYN | ACK)),
                case(family, "a reopened flow keeps its element of the ring")
                    .then(out(family, 61_001, SYN).number_of_flows(1))
                    .then(back(family, 61_001, RST | ACK))
                    .then(out(family, 61_002, SYN).number_of_flows(2))
                    .then(out(family, 61_001, SYN).number_of_flows(2)),
            ]
        })
        .collect()
}

/// The quota of a sandbox, in flows.
const QUOTA: u32 = 4;

fn quota() -> Vec<Case> {
    Family::BOTH
        .into_iter()
        .flat_map(|family| {
            let established = |case: Case, sport: u16| {
                case.then(out(family, sport, SYN).number_of_flows(usize::from(sport - 61_000)))
                    .then(back(family, sport, SYN | ACK))
                    .then(out(family, sport, ACK))
            };
            let at_quota = |name: &str| (61_001..=61_004).fold(case(family, name), established);
            let refused = || {
                let packet = Packet::ip(family.sandbox(1), family.client()).tcp(61_005, 80, SYN);
                send(UPLINK_EGRESS, "eth0", &packet).is(Reason::Quota)
            };
            let inbound = |sport| {
                let packet = Packet::ip(family.client(), family.host())
                    .eth(MAC_OUTSIDE, MAC_UPLINK)
                    .tcp(sport, 8080, SYN);
                let inside = packet.clone().destination(family.sandbox(1)).dport(80);
                let inside = inside.routed().eth(gateway_mac(1), sandbox_mac(1));
                (packet, inside)
            };
            let (request, delivered) = inbound(40_000);
            let hairpin = Packet::ip(family.sandbox(3), family.host())
                .eth(sandbox_mac(3), gateway_mac(3))
                .tcp(40_000, 8080, SYN);
            let hairpin_inside = hairpin.clone().destination(family.sandbox(1)).dport(80);
            let [fin_out, fin_back] = [
                out(family, 61_002, FIN | ACK),
                back(family, 61_002, FIN | ACK),
            ];
            [
                at_quota("a sandbox at its quota opens no flow and keeps existing ones")
                    .then(refused())
                    .then(refused())
                    .then(out(family, 61_001, ACK))
                    .then(back(family, 61_004, ACK)),
                at_quota("a sandbox at its quota does not limit another sandbox")
                    .then(refused())
                    .then(out_of(family, 2, 61_101, SYN).number_of_flows(5))
                    .then(out_of(family, 2, 61_102, SYN).number_of_flows(6)),
                at_quota("flows from outside count for the sandbox that they reach")
                    .then(send(UPLINK_INGRESS, "eth0", &request).is(Reason::Quota)),
                case(family, "flows from outside are accepted up to the quota")
                    .then(
                        send(UPLINK_INGRESS, "eth0", &request)
                            .is(Reason::Inbound)
                            .sends(&delivered)
                            .number_of_flows(1),
                    )
                    .change(|prog| assert_eq!((prog.usage(1), prog.usage(2)), (1, 0))),
                at_quota("flows between sandboxes count for the one that opens them")
                    .then(
                        send(ENDPOINT_IN, "ve3", &hairpin)
                            .is(Reason::Hairpin)
                            .sends(&hairpin_inside.routed().eth(gateway_mac(1), sandbox_mac(1)))
                            .number_of_flows(5),
                    )
                    .change(|prog| assert_eq!((prog.usage(1), prog.usage(3)), (4, 1))),
                at_quota("a closed flow is evicted for a new one")
                    .then(fin_out)
                    .then(fin_back)
                    .then(out(family, 61_005, SYN).number_of_flows(4))
                    .then(out(family, 61_001, ACK)),
                (61_001..=61_003)
                    .fold(
                        case(family, "a flow without a reply is evicted for a new one"),
                        established,
                    )
                    .then(out(family, 61_004, SYN).number_of_flows(4))
                    .then(out(family, 61_005, SYN).number_of_flows(4))
                    .then(out(family, 61_006, SYN).number_of_flows(4))
                    .then(out(family, 61_001, ACK)),
                at_quota("a sandbox at its quota evicts no flow of another sandbox")
                    .then(out_of(family, 2, 61_101, SYN).number_of_flows(5))
                    .then(refused())
                    .then(back_to(family, 2, 61_101, SYN | ACK)),
                at_quota("a new sandbox in the slot has a quota of its own")
                    .change(replace)
                    .then(out(family, 61_005, SYN).number_of_flows(5))
                    .change(|prog| assert_eq!(prog.usage(1), 1))
                    .change(|prog| {
                        prog.datapath.sweep().expect("sweep");
                        assert_eq!((prog.flows().len(), prog.usage(1)), (1, 1));
                    }),
            ]
        })
        .collect()
}

/// Replaces the sandbox of the slot, which gets a new generation.
fn replace(prog: &mut Prog) {
    let mut entry = endpoint(1);
    entry.generation += 1;
    prog.tables().put(&[(1, entry)]).expect("endpoint");
}
