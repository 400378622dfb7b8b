//! Flows of one endpoint do not displace those of others, and flows that are not sustained make room for new ones.

use std::{net::IpAddr, thread, time::Duration};

use netpath::datapath::Limits;
use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{Family, PacketContext, Prog, Setup, UPLINK_EGRESS, UPLINK_INGRESS},
};

/// Limit of the half-open flows of one endpoint and direction.
const HALF_OPEN: u32 = 64;
/// Port of the service outside.
const DNS: u16 = 53;

fn setup(flows: u32) -> Setup {
    Setup::sized(flows, HALF_OPEN)
}

fn egress(prog: &mut Prog, packet: &Packet) -> bool {
    let packet = packet.build();
    prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &packet)
        .packet
        != packet
}

fn ingress(prog: &mut Prog, packet: &Packet) -> bool {
    let packet = packet.build();
    prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &packet)
        .packet
        != packet
}

/// Sends a request from a sandbox; returns whether it left.
fn request(prog: &mut Prog, family: Family, slot: u32, sport: u16) -> bool {
    egress(
        prog,
        &Packet::ip(family.sandbox(slot), family.client()).udp(sport, DNS),
    )
}

/// Sends the reply to a request that kept its source port; returns whether it was delivered.
fn reply(prog: &mut Prog, family: Family, sport: u16) -> bool {
    ingress(
        prog,
        &Packet::ip(family.client(), family.host()).udp(DNS, sport),
    )
}

/// Sends a segment from outside to the published port of sandbox 1; returns whether it was delivered.
fn connect(prog: &mut Prog, family: Family, client: IpAddr, sport: u16, flags: u8) -> bool {
    ingress(
        prog,
        &Packet::ip(client, family.host()).tcp(sport, 8080, flags),
    )
}

/// Sends a segment from the server in sandbox 1; returns whether it left.
fn answer(prog: &mut Prog, family: Family, client: IpAddr, sport: u16) -> bool {
    egress(
        prog,
        &Packet::ip(family.sandbox(1), client).tcp(80, sport, SYN | ACK),
    )
}

fn count(prog: &Prog, reason: Reason) -> u64 {
    let counters = prog.counters();
    let found = counters.iter().find(|count| count.0 == reason);
    found.map_or(0, |count| count.1)
}

#[test]
fn flood_of_a_sandbox_evicts_its_own_oldest_flows_only() {
    Prog::with(setup(8_192), |prog| {
        for family in Family::BOTH {
            prog.forget_flows();
            let evicted = count(prog, Reason::EvictedHalfOpen);
            for sport in 61_000..61_010 {
                assert!(request(prog, family, 2, sport));
            }
            assert!(connect(prog, family, family.client(), 50_000, SYN));
            for sport in 61_100..63_100 {
                assert!(request(prog, family, 1, sport));
            }
            let limit = HALF_OPEN as usize;
            let flows = prog.flows();
            let mut ports: Vec<u16> = flows
                .iter()
                .map(|flow| flow.key.sport.get())
                .filter(|port| (61_100..63_100).contains(port))
                .collect();
            ports.sort_unstable();
            let newest: Vec<u16> = (63_100 - HALF_OPEN as u16..63_100).collect();
            assert_eq!(ports, newest, "the newest {limit} flows remain");
            assert_eq!(flows.len(), limit + 11);
            for sport in 61_000..61_010 {
                assert!(reply(prog, family, sport), "reply to port {sport}");
            }
            assert!(answer(prog, family, family.client(), 50_000));
            let evicted = count(prog, Reason::EvictedHalfOpen) - evicted;
            assert_eq!(evicted, 2_000 - u64::from(HALF_OPEN));
            let counts = prog.counts(1);
            assert_eq!(counts.evicted_half_open, [evicted as u32, 0]);
            assert_eq!(prog.counts(2).evicted_half_open, [0, 0]);
            assert_eq!(prog.wrong_usage(), []);
        }
    });
}

#[test]
fn slow_request_survives_many_answered_ones_of_its_sandbox() {
    Prog::with(setup(8_192), |prog| {
        for family in Family::BOTH {
            prog.forget_flows();
            for sport in 61_000..61_004 {
                assert!(request(prog, family, 1, sport));
            }
            for sport in 61_100..63_100 {
                assert!(request(prog, family, 1, sport) && reply(prog, family, sport));
            }
            for sport in 61_000..61_004 {
                assert!(reply(prog, family, sport), "reply to port {sport}");
            }
        }
        assert_eq!(count(prog, Reason::EvictedHalfOpen), 0);
    });
}

#[test]
fn syn_flood_does_not_disturb_handshakes_in_progress() {
    Prog::with(setup(8_192), |prog| {
        for family in Family::BOTH {
            prog.forget_flows();
            assert!(request(prog, family, 1, 61_000));
            for round in 0..200_u16 {
                let legitimate = 50_000 + round;
                assert!(connect(prog, family, family.client(), legitimate, SYN));
                assert!(answer(prog, family, family.client(), legitimate));
                for number in 0..HALF_OPEN as u16 - 1 {
                    let sport = 1_024 + round * 64 + number;
                    assert!(connect(prog, family, family.unlisted_client(), sport, SYN));
                    assert!(answer(prog, family, family.unlisted_client(), sport));
                }
                assert!(connect(prog, family, family.client(), legitimate, ACK));
            }
            assert!(reply(prog, family, 61_000), "outbound flow of the victim");
            let established = prog.flows().len();
            assert!(established >= 200, "{established} flows");
            assert_eq!(prog.wrong_usage(), []);
        }
        assert!(prog.counts(1).evicted_half_open[1] > 10_000);
    });
}

#[test]
fn full_table_evicts_the_oldest_unsustained_flow_and_refuses_none() {
    Prog::with(setup(1_000), |prog| {
        for family in Family::BOTH {
            prog.forget_flows();
            for sport in 61_000..65_000 {
                assert!(request(prog, family, 1, sport) && reply(prog, family, sport));
            }
            let flows = prog.flows();
            let oldest = flows.iter().map(|flow| flow.key.sport.get()).min();
            // One search removes at most 128 flows.
            assert!(flows.len() > 850, "{} flows", flows.len());
            assert!(oldest.is_some_and(|oldest| oldest >= 64_000), "{oldest:?}");
            assert_eq!(prog.usage(1), 0, "the quota does not count these flows");
        }
        assert_eq!(count(prog, Reason::TableFull), 0);
        assert_eq!(count(prog, Reason::Quota), 0);
        assert!(count(prog, Reason::EvictedTableFull) >= 6_000);
    });
}

#[test]
fn full_table_evicts_flows_of_the_sandbox_that_exceeds_its_share() {
    Prog::with(setup(1_000), |prog| {
        for family in Family::BOTH {
            prog.forget_flows();
            for sport in 61_000..61_010 {
                assert!(request(prog, family, 2, sport));
            }
            for sport in 61_100..64_100 {
                assert!(request(prog, family, 1, sport) && reply(prog, family, sport));
            }
            for sport in 64_200..64_220 {
                assert!(
                    request(prog, family, 2, sport),
                    "a small sandbox at a full table"
                );
            }
            for sport in (61_000..61_010).chain(64_200..64_220) {
                assert!(reply(prog, family, sport), "reply to port {sport}");
            }
            assert_eq!(prog.counts(2).evicted, 0);
        }
    });
}

#[test]
fn flow_is_sustained_by_packets_of_both_directions_after_two_seconds() {
    let mut setup = setup(1_000);
    setup.limits.flows_per_sandbox = Some(3);
    Prog::with(setup, |prog| {
        let family = Family::BOTH[0];
        // Both directions, in either order; one direction each; none.
        let ports = 61_000..61_006;
        for sport in ports.clone() {
            assert!(request(prog, family, 1, sport) && reply(prog, family, sport));
        }
        assert_eq!(prog.usage(1), 0);
        thread::sleep(Duration::from_millis(2_050));
        assert!(request(prog, family, 1, 61_000) && reply(prog, family, 61_000));
        assert!(reply(prog, family, 61_001) && request(prog, family, 1, 61_001));
        assert!(request(prog, family, 1, 61_002) && reply(prog, family, 61_003));
        assert_eq!(prog.usage(1), 2);
        assert!(request(prog, family, 1, 61_004) && reply(prog, family, 61_004));
        assert_eq!(prog.usage(1), 3);
        // The quota is reached.
        assert!(request(prog, family, 1, 61_005) && reply(prog, family, 61_005));
        assert_eq!(prog.usage(1), 3);
        for sport in 61_100..63_100 {
            assert!(request(prog, family, 1, sport) && reply(prog, family, sport));
        }
        let flows = prog.flows();
        let mut left: Vec<u16> = flows
            .iter()
            .map(|flow| flow.key.sport.get())
            .filter(|port| ports.contains(port))
            .collect();
        left.sort_unstable();
        assert_eq!(left, [61_000, 61_001, 61_004]);
        assert_eq!(prog.wrong_usage(), []);
    });
}

#[test]
fn bookkeeping_takes_at_most_16_megabytes() {
    let setup = Setup {
        limits: Limits {
            flows: 1_048_576,
            half_open: None,
            flows_per_sandbox: None,
        },
        ..Setup::default()
    };
    Prog::with(setup, |prog| {
        let maps = prog.maps();
        let maps = maps
            .iter()
            .filter(|map| matches!(map.name.as_str(), "half_open" | "usage"));
        let bytes: u64 = maps.map(|map| map.bytes).sum();
        assert!(bytes > 0 && bytes <= 16_000_000, "{bytes} bytes");
        // 16 slots.
        assert_eq!(prog.config().half_open_mask + 1, 16_384);
    });
}
