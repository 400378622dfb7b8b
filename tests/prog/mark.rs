//! Policy rules for the mark of a packet.

use std::process::Command;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Packet, SYN},
    prog::{ENDPOINT_IN, Place, Prog, Setup, Side, gateway_mac, sandbox_mac},
};

const MARK: u32 = 7;
const TABLE: u32 = 100;

fn ip(side: Side, arguments: &str) {
    let family = if side.is_v4() { "-4" } else { "-6" };
    let mut command = Command::new("ip");
    let status = command.arg(family).args(arguments.split(' ')).status();
    assert!(status.expect("ip").success(), "ip {family} {arguments}");
}

/// Kernels without `BPF_FIB_LOOKUP_MARK` do not follow the rule; `netpath doctor` names it there.
#[test]
fn rule_for_mark_decides_route_where_kernel_supports_it() {
    Prog::with(Setup::default(), |prog| {
        for side in Side::BOTH {
            ip(side, &format!("rule add fwmark {MARK} table {TABLE}"));
            ip(
                side,
                &format!("route add unreachable default table {TABLE}"),
            );
            let packet = Packet::ip(side.sandbox(1), side.client()).tcp(1, 80, SYN);
            let packet = packet.eth(sandbox_mac(1), gateway_mac(1)).build();
            let expected = if prog.datapath.features().mark {
                Reason::Unreachable
            } else {
                Reason::Outbound
            };
            let mut count = |mark, reason| {
                let before = packets(prog, reason);
                let mut place = Place::at("ve1");
                place.mark = mark;
                prog.run(ENDPOINT_IN, &place, &packet);
                packets(prog, reason) - before
            };
            assert_eq!(count(0, Reason::Outbound), 1, "{side:?}");
            assert_eq!(count(MARK, expected), 1, "{side:?}");
        }
    });
}

fn packets(prog: &Prog, reason: Reason) -> u64 {
    let counters = prog.counters();
    let found = counters.iter().find(|(other, ..)| *other == reason);
    found.map_or(0, |(_, packets, _)| *packets)
}
