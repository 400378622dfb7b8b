//! Expiry: a flow that the daemon has selected is removed only if no packet has used it since.

use std::{thread, time::Duration};

use netpath::{datapath::sweep::Swept, model::Protocol, plan::tables::EndpointEntry};
use netpath_common::{
    flow::{FlowEntry, FlowKey, Timers},
    maps::{SWEEP_BATCH, SWEEP_HEADER, SweepRecord},
};
use netpath_tests::{
    packet::Packet,
    prog::{Family, PacketContext, Prog, SWEEP, Setup, UPLINK_EGRESS, UPLINK_INGRESS, port},
};

/// Opens a flow; returns its entries, the original first.
fn open(prog: &mut Prog, family: Family, sport: u16) -> [(FlowKey, FlowEntry); 2] {
    let packet = Packet::ip(family.sandbox(1), family.client()).udp(sport, 53);
    prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &packet.build());
    let flows = prog.flows();
    let flow = flows
        .iter()
        .find(|flow| flow.key.sport.get() == sport)
        .expect("flow");
    [(flow.key, flow.entry), flow.reply.expect("reply")]
}

fn send_reply(prog: &mut Prog, family: Family, sport: u16) {
    let packet = Packet::ip(family.client(), family.host()).udp(53, sport);
    prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &packet.build());
}

/// Runs the program on records; returns the number of flows that it removed.
fn sweep(prog: &mut Prog, records: &[SweepRecord]) -> u32 {
    let mut packet = vec![0; SWEEP_HEADER];
    packet[12..14].copy_from_slice(&[0x88, 0xb5]);
    for record in records {
        let key = &record.key;
        packet.extend(key.src.octets());
        packet.extend(key.dst.octets());
        packet.extend(key.sport.raw().to_ne_bytes());
        packet.extend(key.dport.raw().to_ne_bytes());
        packet.extend([key.protocol, 0, 0, 0]);
        packet.extend(record.last_seen.to_ne_bytes());
        packet.extend(record.reverse_last_seen.to_ne_bytes());
    }
    prog.run(SWEEP, &PacketContext::default(), &packet).verdict
}

fn record([this, reverse]: [(FlowKey, FlowEntry); 2]) -> SweepRecord {
    SweepRecord {
        key: this.0,
        last_seen: this.1.last_seen,
        reverse_last_seen: reverse.1.last_seen,
    }
}

#[test]
fn sweep_removes_both_entries_if_their_times_match() {
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            let entries = open(prog, family, 61_500);
            let right = record(entries);
            let newer = |change: fn(&mut SweepRecord)| {
                let mut record = right;
                change(&mut record);
                record
            };
            let changed = [
                newer(|record| record.last_seen += 1),
                newer(|record| record.last_seen -= 1),
                newer(|record| record.reverse_last_seen += 1),
                newer(|record| record.key.protocol = 6),
            ];
            for record in changed {
                assert_eq!(sweep(prog, &[record]), 0, "{record:?}");
                assert_eq!(prog.entries().len(), 2);
            }
            assert_eq!(sweep(prog, &[right]), 1);
            assert!(prog.entries().is_empty());
            let [original, reply] = open(prog, family, 61_500);
            assert_eq!(
                sweep(prog, &[record([reply, original])]),
                1,
                "by its reply entry"
            );
            assert!(prog.entries().is_empty());
            assert_eq!(sweep(prog, &[right]), 0, "twice");
        }
    });
}

#[test]
fn packet_after_selection_keeps_the_flow() {
    Prog::with(Setup::default(), |prog| {
        let family = Family::BOTH[0];
        let selected = record(open(prog, family, 61_500));
        thread::sleep(Duration::from_millis(20));
        send_reply(prog, family, 61_500);
        assert_eq!(sweep(prog, &[selected]), 0);
        assert_eq!(prog.entries().len(), 2);
    });
}

#[test]
fn sweep_removes_an_entry_without_its_reverse() {
    Prog::with(Setup::default(), |prog| {
        let [_, (key, entry)] = open(prog, Family::BOTH[0], 61_500);
        prog.forget_flows();
        prog.put_entry(&key, &entry);
        let record = SweepRecord {
            key,
            last_seen: entry.last_seen,
            reverse_last_seen: 99,
        };
        assert_eq!(sweep(prog, &[record]), 1);
        assert!(prog.entries().is_empty());
    });
}

#[test]
fn sweep_handles_a_full_batch_and_ignores_a_truncated_record() {
    Prog::with(Setup::default(), |prog| {
        let family = Family::BOTH[1];
        let count = SWEEP_BATCH as u16 + 3;
        let records: Vec<_> = (0..count)
            .map(|number| record(open(prog, family, 61_000 + number)))
            .collect();
        let (first, rest) = records.split_at(SWEEP_BATCH);
        assert_eq!(sweep(prog, first), SWEEP_BATCH as u32);
        assert_eq!(prog.flows().len(), rest.len());
        assert_eq!(sweep(prog, &[]), 0);
        assert_eq!(sweep(prog, rest), rest.len() as u32);
    });
}

/// Limits that differ by state: replied flows stay, and flows without a reply expire at once.
fn short() -> Setup {
    Setup {
        timers: Timers {
            udp_new: 1_000_000,
            ..Timers::DEFAULT
        },
        ..Setup::default()
    }
}

#[test]
fn idle_flows_are_removed_by_the_limit_of_their_state() {
    Prog::with(short(), |prog| {
        let family = Family::BOTH[0];
        for number in 0..100 {
            open(prog, family, 61_000 + number);
        }
        for number in 0..10 {
            send_reply(prog, family, 61_000 + number);
        }
        thread::sleep(Duration::from_millis(50));
        let swept = prog.datapath.sweep().expect("sweep");
        let expected = Swept {
            flows: 100,
            removed: 90,
        };
        assert_eq!(swept, expected);
        assert_eq!((prog.flows().len(), prog.entries().len()), (10, 20));
        let again = prog.datapath.sweep().expect("sweep");
        assert_eq!((again.flows, again.removed), (10, 0));
    });
}

#[test]
fn sweep_removes_flows_of_a_removed_sandbox() {
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            open(prog, family, 61_500);
        }
        let stays =
            Packet::ip(Family::BOTH[0].sandbox(2), Family::BOTH[0].client()).udp(61_501, 53);
        prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &stays.build());
        prog.tables()
            .remove::<EndpointEntry>(&[1])
            .expect("endpoint");
        let swept = prog.datapath.sweep().expect("sweep");
        assert_eq!((swept.flows, swept.removed), (3, 2));
        assert_eq!(prog.entries().len(), 2);
    });
}

/// The daemon was killed after it published a port and before it removed the flow that uses the port.
#[test]
fn sweep_removes_flow_on_a_published_port() {
    Prog::with(Setup::default(), |prog| {
        let family = Family::BOTH[0];
        open(prog, family, 61_500);
        open(prog, family, 61_501);
        let port = port(Protocol::Udp, None, (61_500, 61_500), (53, 2), 0);
        prog.tables().put(&[port]).expect("port");
        let swept = prog.datapath.sweep().expect("sweep");
        assert_eq!((swept.flows, swept.removed), (2, 1));
    });
}
