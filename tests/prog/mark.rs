//! Policy rules for the mark of a packet.

use std::process::Command;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{Packet, SYN},
    prog::{ENDPOINT_IN, Family, PacketContext, Prog, Setup, gateway_mac, sandbox_mac},
};

const MARK: u32 = 7;
const TABLE: u32 = 100;

fn ip(family: Family, arguments: &str) {
    let option = if family.is_v4() { "-4" } else { "-6" };
    let mut command = Command::new("ip");
    let status = command.arg(option).args(arguments.split(' ')).status();
    assert!(status.expect("ip").success(), "ip {option} {arguments}");
}

/// Kernels without `BPF_FIB_LOOKUP_MARK` do not follow the rule; `netpath doctor` names it there.
#[test]
fn rule_for_mark_decides_route_where_kernel_supports_it() {
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            ip(family, &format!("rule add fwmark {MARK} table {TABLE}"));
            ip(
                family,
                &format!("route add unreachable default table {TABLE}"),
            );
            let packet = Packet::ip(family.sandbox(1), family.client()).tcp(1, 80, SYN);
            let packet = packet.eth(sandbox_mac(1), gateway_mac(1)).build();
            let expected = if prog.datapath.features().mark {
                Reason::Unreachable
            } else {
                Reason::Outbound
            };
            let mut count = |mark, reason| {
                let before = packets(prog, reason);
                let mut context = PacketContext::at("ve1");
                context.mark = mark;
                prog.run(ENDPOINT_IN, &context, &packet);
                packets(prog, reason) - before
            };
            assert_eq!(count(0, Reason::Outbound), 1, "{family:?}");
            assert_eq!(count(MARK, expected), 1, "{family:?}");
        }
    });
}

fn packets(prog: &Prog, reason: Reason) -> u64 {
    let counters = prog.counters();
    let found = counters.iter().find(|(other, ..)| *other == reason);
    found.map_or(0, |(_, packets, _)| *packets)
}
