//! Full maps: which flow goes, and which one is refused.

use std::{thread, time::Duration};

use netpath::datapath::Limits;
use netpath_common::{flow::Timers, reason::Reason};
use netpath_tests::{
    packet::{ACK, FIN, Packet, RST, SYN},
    prog::{
        ENDPOINT_IN, MAC_OUTSIDE, MAC_UPLINK, Prog, Setup, Side, UPLINK_EGRESS, UPLINK_INGRESS,
        endpoint, gateway_mac, sandbox_mac,
    },
};

use crate::case::{Case, Send, run_all, send};

/// The cases of this module, for those that count them; each table has maps of its own size.
pub fn cases() -> Vec<Case> {
    [full(), half_open(), quota()]
        .into_iter()
        .flatten()
        .collect()
}

/// Room for so many flows, and for so many that are half-open.
fn sized(flows: u32, half_open: u32) -> Setup {
    Setup {
        limits: Limits {
            flows,
            half_open,
            flows_per_sandbox: Some(u32::MAX),
        },
        ..Setup::default()
    }
}

fn out(side: Side, sport: u16, flags: u8) -> Send {
    out_of(side, 1, sport, flags)
}

fn out_of(side: Side, slot: u32, sport: u16, flags: u8) -> Send {
    let packet = Packet::ip(side.sandbox(slot), side.client())
        .eth(MAC_UPLINK, MAC_OUTSIDE)
        .tcp(sport, 80, flags);
    send(UPLINK_EGRESS, "eth0", &packet)
        .is(Reason::Translated)
        .gives(&packet.clone().source(side.host()))
}

fn back(side: Side, sport: u16, flags: u8) -> Send {
    back_to(side, 1, sport, flags)
}

fn back_to(side: Side, slot: u32, sport: u16, flags: u8) -> Send {
    let packet = Packet::ip(side.client(), side.host())
        .eth(MAC_OUTSIDE, MAC_UPLINK)
        .tcp(80, sport, flags);
    let inside = packet.clone().destination(side.sandbox(slot)).routed();
    send(UPLINK_INGRESS, "eth0", &packet)
        .is(Reason::Inbound)
        .gives(&inside.eth(gateway_mac(slot), sandbox_mac(slot)))
}

fn refused(side: Side, sport: u16) -> Send {
    let packet = Packet::ip(side.sandbox(1), side.client()).tcp(sport, 80, SYN);
    send(UPLINK_EGRESS, "eth0", &packet).is(Reason::TableFull)
}

fn full() -> Vec<Case> {
    let [v4, v6] = Side::BOTH;
    let request = Packet::ip(v4.client(), v4.host()).tcp(40_000, 8080, SYN);
    let established = |case: Case, side: Side, sport: u16, flows: usize| {
        case.then(out(side, sport, SYN).number_of_flows(flows))
            .then(back(side, sport, SYN | ACK))
            .then(out(side, sport, ACK))
    };
    let two = |name: &str| established(established(Case::new(name), v4, 61_001, 1), v6, 61_002, 2);
    vec![
        two("a full table refuses a new flow and keeps the others")
            .then(refused(v4, 61_003))
            .then(refused(v6, 61_003))
            .then(out(v4, 61_001, ACK))
            .then(back(v6, 61_002, ACK)),
        two("a full table refuses a published port's client")
            .then(send(UPLINK_INGRESS, "eth0", &request).is(Reason::TableFull)),
        established(
            Case::new("a full table gives up what was never answered"),
            v4,
            61_001,
            1,
        )
        .then(out(v6, 61_002, SYN).number_of_flows(2))
        .then(out(v6, 61_003, SYN).number_of_flows(2))
        .then(out(v4, 61_001, ACK)),
        established(
            Case::new("what was claimed is given back when the second entry has no room"),
            v4,
            61_001,
            1,
        )
        .change(|prog| {
            let (key, entry) = prog.entries()[0];
            let mut odd = key;
            odd.protocol = 200;
            prog.put_entry(&odd, &entry);
            assert_eq!(prog.entries().len(), 3);
        })
        .then(refused(v4, 61_003))
        .change(|prog| assert_eq!(prog.entries().len(), 3)),
    ]
}

#[test]
fn full_table() {
    run_all(sized(2, 64), &full());
}

fn half_open() -> Vec<Case> {
    Side::BOTH
        .into_iter()
        .flat_map(|side| {
            let established = out(side, 61_001, SYN).number_of_flows(1);
            let family = side.0;
            [
                Case::new(format!("{family:?}: an established flow is never evicted"))
                    .then(established)
                    .then(back(side, 61_001, SYN | ACK))
                    .then(out(side, 61_001, ACK))
                    .then(out(side, 61_002, SYN).number_of_flows(2))
                    .then(out(side, 61_003, SYN).number_of_flows(3))
                    .then(out(side, 61_004, SYN).number_of_flows(3))
                    .then(out(side, 61_005, SYN).number_of_flows(3))
                    .then(out(side, 61_006, SYN).number_of_flows(3))
                    .then(back(side, 61_001, ACK))
                    .then(back(side, 61_006, SYN | ACK)),
                Case::new(format!("{family:?}: the oldest half-open flow goes first"))
                    .then(out(side, 61_001, SYN).number_of_flows(1))
                    .then(out(side, 61_002, SYN).number_of_flows(2))
                    .then(out(side, 61_003, SYN).number_of_flows(2))
                    .then(back(side, 61_002, SYN | ACK))
                    .then(back(side, 61_003, SYN | ACK)),
                Case::new(format!(
                    "{family:?}: a flow that begins anew at its own place stays"
                ))
                .then(out(side, 61_001, SYN).number_of_flows(1))
                .then(back(side, 61_001, RST | ACK))
                .then(out(side, 61_002, SYN).number_of_flows(2))
                .then(out(side, 61_001, SYN).number_of_flows(2)),
            ]
        })
        .collect()
}

#[test]
fn half_open_ring() {
    run_all(sized(64, 2), &half_open());
}

/// What one sandbox may have: four flows.
const QUOTA: u32 = 4;

fn quota() -> Vec<Case> {
    Side::BOTH
        .into_iter()
        .flat_map(|side| {
            let family = side.0;
            let established = |case: Case, sport: u16| {
                case.then(out(side, sport, SYN).number_of_flows(usize::from(sport - 61_000)))
                    .then(back(side, sport, SYN | ACK))
                    .then(out(side, sport, ACK))
            };
            let at_quota = |name: &str| {
                (61_001..=61_004).fold(Case::new(format!("{family:?}: {name}")), established)
            };
            let refused = || {
                let packet = Packet::ip(side.sandbox(1), side.client()).tcp(61_005, 80, SYN);
                send(UPLINK_EGRESS, "eth0", &packet).is(Reason::Quota)
            };
            let inbound = |sport| {
                let packet = Packet::ip(side.client(), side.host())
                    .eth(MAC_OUTSIDE, MAC_UPLINK)
                    .tcp(sport, 8080, SYN);
                let inside = packet.clone().destination(side.sandbox(1)).dport(80);
                let inside = inside.routed().eth(gateway_mac(1), sandbox_mac(1));
                (packet, inside)
            };
            let (request, delivered) = inbound(40_000);
            let hairpin = Packet::ip(side.sandbox(3), side.host())
                .eth(sandbox_mac(3), gateway_mac(3))
                .tcp(40_000, 8080, SYN);
            let hairpin_inside = hairpin.clone().destination(side.sandbox(1)).dport(80);
            let [fin_out, fin_back] = [out(side, 61_002, FIN | ACK), back(side, 61_002, FIN | ACK)];
            [
                at_quota("beyond its quota a sandbox opens no flow, and keeps what it has")
                    .then(refused())
                    .then(refused())
                    .then(out(side, 61_001, ACK))
                    .then(back(side, 61_004, ACK)),
                at_quota("a neighbour of a sandbox at its quota opens flows")
                    .then(refused())
                    .then(out_of(side, 2, 61_101, SYN).number_of_flows(5))
                    .then(out_of(side, 2, 61_102, SYN).number_of_flows(6)),
                at_quota("flows from outside are charged to the sandbox that they reach")
                    .then(send(UPLINK_INGRESS, "eth0", &request).is(Reason::Quota)),
                Case::new(format!(
                    "{family:?}: flows from outside come up to the quota"
                ))
                .then(
                    send(UPLINK_INGRESS, "eth0", &request)
                        .is(Reason::Inbound)
                        .gives(&delivered)
                        .number_of_flows(1),
                )
                .change(|prog| assert_eq!((prog.usage(1), prog.usage(2)), (1, 0))),
                at_quota("flows between sandboxes are charged to the one that opens them")
                    .then(
                        send(ENDPOINT_IN, "ve3", &hairpin)
                            .is(Reason::Hairpin)
                            .gives(&hairpin_inside.routed().eth(gateway_mac(1), sandbox_mac(1)))
                            .number_of_flows(5),
                    )
                    .change(|prog| assert_eq!((prog.usage(1), prog.usage(3)), (4, 1))),
                at_quota("a finished flow gives its place to a new one")
                    .then(fin_out)
                    .then(fin_back)
                    .then(out(side, 61_005, SYN).number_of_flows(4))
                    .then(out(side, 61_001, ACK)),
                (61_001..=61_003)
                    .fold(
                        Case::new(format!(
                            "{family:?}: a flow that was never answered gives its place to a new one"
                        )),
                        established,
                    )
                    .then(out(side, 61_004, SYN).number_of_flows(4))
                    .then(out(side, 61_005, SYN).number_of_flows(4))
                    .then(out(side, 61_006, SYN).number_of_flows(4))
                    .then(out(side, 61_001, ACK)),
                at_quota("at its quota a sandbox takes nothing from a neighbour")
                    .then(out_of(side, 2, 61_101, SYN).number_of_flows(5))
                    .then(refused())
                    .then(back_to(side, 2, 61_101, SYN | ACK)),
                at_quota("a new sandbox in the slot has a quota of its own")
                    .change(replace)
                    .then(out(side, 61_005, SYN).number_of_flows(5))
                    .change(|prog| assert_eq!(prog.usage(1), 1))
                    .change(|prog| {
                        prog.datapath.sweep().expect("sweep");
                        assert_eq!((prog.flows().len(), prog.usage(1)), (1, 1));
                    }),
            ]
        })
        .collect()
}

/// Another sandbox gets the slot, and with it a new generation.
fn replace(prog: &mut Prog) {
    let mut entry = endpoint(1);
    entry.generation += 1;
    prog.tables().put_endpoint(1, &entry).expect("endpoint");
}

#[test]
fn quota_of_a_sandbox() {
    let mut setup = sized(64, 64);
    setup.limits.flows_per_sandbox = Some(QUOTA);
    run_all(setup, &quota());
}

/// Sends a datagram out, and says whether it left.
fn leaves(prog: &mut Prog, sport: u16) -> bool {
    let side = Side::BOTH[0];
    let packet = Packet::ip(side.sandbox(1), side.client()).udp(sport, 53);
    let outcome = prog.run(UPLINK_EGRESS, &crate::eth0(), &packet.build());
    outcome.packet != packet.build()
}

#[test]
fn a_full_table_of_flows_that_are_over_takes_new_ones_without_a_sweep() {
    let timers = Timers {
        udp_new: 1_000_000,
        ..Timers::DEFAULT
    };
    let setup = Setup {
        timers,
        ..sized(4, 64)
    };
    Prog::with(setup, |prog| {
        assert!((0..4).all(|number| leaves(prog, 61_000 + number)));
        assert_eq!(prog.flows().len(), 4);
        thread::sleep(Duration::from_millis(50));
        for number in 4..40 {
            assert!(leaves(prog, 61_000 + number), "flow {number} is refused");
            thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn a_sandbox_that_floods_stops_at_its_quota_and_a_neighbour_goes_on() {
    const QUOTA: u32 = 2_000;
    let mut setup = sized(8_000, 1_024);
    setup.limits.flows_per_sandbox = Some(QUOTA);
    Prog::with(setup, |prog| {
        let side = Side::BOTH[0];
        let send = |prog: &mut Prog, slot: u32, sport: u16| {
            let out = Packet::ip(side.sandbox(slot), side.client()).udp(sport, 53);
            prog.run(UPLINK_EGRESS, &crate::eth0(), &out.build());
            let back = Packet::ip(side.client(), side.host()).udp(53, sport);
            prog.run(UPLINK_INGRESS, &crate::eth0(), &back.build());
        };
        for sport in 61_000..65_000 {
            send(prog, 1, sport);
        }
        assert_eq!(prog.usage(1), QUOTA as i32);
        for sport in 63_500..64_500 {
            send(prog, 2, sport);
        }
        assert_eq!((prog.usage(1), prog.usage(2)), (QUOTA as i32, 1_000));
        let refused = prog.counters();
        let refused = refused.iter().find(|count| count.0 == Reason::Quota);
        assert_eq!(refused.map(|count| count.1), Some(2_000));
        assert_eq!(prog.wrong_usage(), []);
    });
}

/// With no daemon to sweep, the flows that are over are found by those that are refused.
#[test]
fn a_sandbox_at_its_quota_recovers_without_a_sweep() {
    let mut setup = sized(4_096, 1_024);
    setup.limits.flows_per_sandbox = Some(100);
    setup.timers.udp_new = 1_000_000;
    Prog::with(setup, |prog| {
        assert!((0..100).all(|number| leaves(prog, 61_000 + number)));
        assert_eq!(prog.usage(1), 100);
        thread::sleep(Duration::from_millis(50));
        assert!((100..200).all(|number| leaves(prog, 61_000 + number)));
        assert!(prog.usage(1) <= 100);
    });
}

#[test]
fn chosen_ports_are_spread_and_distinct() {
    Prog::with(Setup::default(), |prog| {
        prog.set_snat_ports(61_000, 61_255);
        assert!((0..100).all(|number| leaves(prog, 1_000 + number)));
        let mut flows = prog.flows();
        assert_eq!(flows.len(), 100);
        flows.sort_by_key(|flow| flow.key.sport.get());
        let ports: Vec<_> = flows.iter().map(|flow| flow.outer_port()).collect();
        assert!(ports.iter().all(|port| (61_000..=61_255).contains(port)));
        let steps = ports
            .windows(2)
            .filter(|pair| pair[1] == pair[0] + 1)
            .count();
        assert!(
            steps < 10,
            "{steps} of 99 ports follow one another: {ports:?}"
        );
    });
}

/// RFC 6056: where a port must change, the new one is not to be guessed from the one before.
#[test]
fn ports_that_must_change_are_uniformly_spread() {
    const COLLISIONS: u16 = 2_000;
    const FIRST: u16 = 20_000;
    const BIN: u16 = 2_500;
    Prog::with(sized(8_192, 8_192), |prog| {
        let side = Side::BOTH[0];
        prog.set_snat_ports(FIRST, 65_000);
        for sport in 61_000..61_000 + COLLISIONS {
            for slot in [1, 2] {
                let packet = Packet::ip(side.sandbox(slot), side.client()).udp(sport, 53);
                prog.run(UPLINK_EGRESS, &crate::eth0(), &packet.build());
            }
        }
        let mut flows = prog.flows();
        flows.retain(|flow| flow.entry.endpoint == 2);
        flows.sort_by_key(|flow| flow.key.sport.get());
        let ports: Vec<_> = flows.iter().map(|flow| flow.outer_port()).collect();
        assert_eq!(ports.len(), usize::from(COLLISIONS));
        let steps = ports.windows(2).filter(|pair| pair[0] + 1 == pair[1]);
        assert!(steps.count() <= 2, "ports follow one another: {ports:?}");
        // Below the ports that sandbox 1 has kept: all are as likely.
        let mut bins = [0_f64; 16];
        for port in &ports {
            if let Some(bin) = bins.get_mut(usize::from((port - FIRST) / BIN)) {
                *bin += 1.0;
            }
        }
        let expected = bins.iter().sum::<f64>() / bins.len() as f64;
        let chi_square: f64 = bins
            .iter()
            .map(|bin| (bin - expected).powi(2) / expected)
            .sum();
        // 15 degrees of freedom: passed by chance in all but one of a million runs.
        assert!(chi_square < 56.5, "{chi_square}: {bins:?}");
    });
}

#[test]
fn a_port_with_a_socket_of_the_host_is_not_chosen() {
    use std::net::{TcpListener, UdpSocket};
    Prog::with(Setup::default(), |prog| {
        for side in Side::BOTH {
            let any = side.pick([0; 4], "::");
            let packets = [
                Packet::ip(side.sandbox(1), side.client()).udp(61_500, 53),
                Packet::ip(side.sandbox(1), side.client()).tcp(61_500, 80, SYN),
            ];
            let mut port = |packet: &Packet| {
                prog.forget_flows();
                prog.run(UPLINK_EGRESS, &crate::eth0(), &packet.build());
                prog.flows()[0].outer_port()
            };
            for address in [any, side.host()] {
                let udp = UdpSocket::bind((address, 61_500)).expect("bind");
                let tcp = TcpListener::bind((address, 61_500)).expect("bind");
                for packet in &packets {
                    assert_ne!(port(packet), 61_500, "{packet:?}");
                }
                drop((udp, tcp));
            }
            for packet in &packets {
                assert_eq!(port(packet), 61_500, "{packet:?}");
            }
        }
    });
}
