//! Full maps, quotas and the choice of ports, where a table of cases does not suffice.

use std::{thread, time::Duration};

use netpath_common::{flow::Timers, reason::Reason};
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{Family, PacketContext, Prog, Setup, UPLINK_EGRESS, UPLINK_INGRESS},
};

/// Sends a datagram from a sandbox; returns whether it was translated.
fn leaves(prog: &mut Prog, sport: u16) -> bool {
    let family = Family::BOTH[0];
    let packet = Packet::ip(family.sandbox(1), family.client()).udp(sport, 53);
    let outcome = prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &packet.build());
    outcome.packet != packet.build()
}

/// Sends a SYN from a sandbox; returns whether it was translated.
fn connects(prog: &mut Prog, slot: u32, sport: u16, flags: u8) -> bool {
    let family = Family::BOTH[0];
    let packet = Packet::ip(family.sandbox(slot), family.client()).tcp(sport, 80, flags);
    let outcome = prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &packet.build());
    outcome.packet != packet.build()
}

#[test]
fn full_table_of_expired_flows_accepts_new_ones_without_a_sweep() {
    let timers = Timers {
        udp_new: 1_000_000,
        ..Timers::DEFAULT
    };
    let setup = Setup {
        timers,
        ..Setup::sized(4, 64)
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
fn flooding_sandbox_is_limited_by_its_quota_and_another_sandbox_is_not() {
    const QUOTA: u32 = 2_000;
    let mut setup = Setup::sized(8_000, 1_024);
    setup.limits.flows_per_sandbox = Some(QUOTA);
    Prog::with(setup, |prog| {
        let family = Family::BOTH[0];
        let send = |prog: &mut Prog, slot: u32, sport: u16| {
            connects(prog, slot, sport, SYN);
            let back = Packet::ip(family.client(), family.host()).tcp(80, sport, SYN | ACK);
            prog.run(UPLINK_INGRESS, &PacketContext::at("eth0"), &back.build());
            connects(prog, slot, sport, ACK);
        };
        for sport in 61_000..65_000 {
            send(prog, 1, sport);
        }
        assert_eq!(prog.usage(1), QUOTA as i32);
        for sport in 63_500..64_500 {
            send(prog, 2, sport);
        }
        assert_eq!((prog.usage(1), prog.usage(2)), (QUOTA as i32, 1_000));
        let counters = prog.counters();
        let count = |reason| {
            counters
                .iter()
                .find(|count| count.0 == reason)
                .map_or(0, |count| count.1)
        };
        // A flow that does not keep its source port gets no reply here, remains half-open, and is evicted.
        let evicted = count(Reason::EvictedQuota);
        assert!(evicted <= 2, "{evicted}");
        assert_eq!(count(Reason::Quota) + evicted, 2_000);
        assert_eq!(prog.wrong_usage(), []);
    });
}

/// Without a sweep, the packets that exceed the quota remove expired flows.
#[test]
fn sandbox_at_its_quota_recovers_without_a_sweep() {
    let mut setup = Setup::sized(4_096, 1_024);
    setup.limits.flows_per_sandbox = Some(100);
    setup.timers.tcp_syn_sent = 1_000_000;
    Prog::with(setup, |prog| {
        assert!((0..100).all(|number| connects(prog, 1, 61_000 + number, SYN)));
        assert_eq!(prog.usage(1), 100);
        thread::sleep(Duration::from_millis(50));
        assert!((100..200).all(|number| connects(prog, 1, 61_000 + number, SYN)));
        assert!(prog.usage(1) <= 100);
    });
}

#[test]
fn chosen_ports_are_distinct_and_not_consecutive() {
    Prog::with(Setup::default(), |prog| {
        assert!((0..100).all(|number| leaves(prog, 900 + number)));
        let mut flows = prog.flows();
        assert_eq!(flows.len(), 100);
        flows.sort_by_key(|flow| flow.key.sport.get());
        let ports: Vec<_> = flows.iter().map(|flow| flow.outer_port()).collect();
        assert!(ports.iter().all(|port| *port >= 1_024), "{ports:?}");
        let steps = ports
            .windows(2)
            .filter(|pair| pair[1] == pair[0] + 1)
            .count();
        assert!(steps < 10, "{steps} of 99 ports are consecutive: {ports:?}");
    });
}

/// RFC 6056: a new port cannot be predicted from the previous one.
#[test]
fn ports_chosen_after_a_collision_are_uniformly_distributed() {
    const COLLISIONS: u16 = 2_000;
    const FIRST: u16 = 1_024;
    const BIN: u16 = 3_748;
    Prog::with(Setup::sized(131_072, 8_192), |prog| {
        let family = Family::BOTH[0];
        for sport in 61_000..61_000 + COLLISIONS {
            for slot in [1, 2] {
                let packet = Packet::ip(family.sandbox(slot), family.client()).udp(sport, 53);
                prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &packet.build());
            }
        }
        let mut flows = prog.flows();
        flows.retain(|flow| flow.entry.endpoint == 2);
        flows.sort_by_key(|flow| flow.key.sport.get());
        let ports: Vec<_> = flows.iter().map(|flow| flow.outer_port()).collect();
        assert_eq!(ports.len(), usize::from(COLLISIONS));
        let steps = ports.windows(2).filter(|pair| pair[0] + 1 == pair[1]);
        assert!(steps.count() <= 2, "ports are consecutive: {ports:?}");
        // Ports below those that sandbox 1 keeps are equally likely.
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
        // 15 degrees of freedom: a uniform distribution fails once in a million runs.
        assert!(chi_square < 56.5, "{chi_square}: {bins:?}");
    });
}

#[test]
fn port_of_a_host_socket_is_not_chosen() {
    use std::net::{TcpListener, UdpSocket};
    Prog::with(Setup::default(), |prog| {
        for family in Family::BOTH {
            let any = family.pick([0; 4], "::");
            let packets = [
                Packet::ip(family.sandbox(1), family.client()).udp(61_500, 53),
                Packet::ip(family.sandbox(1), family.client()).tcp(61_500, 80, SYN),
            ];
            let mut port = |packet: &Packet| {
                prog.forget_flows();
                prog.run(UPLINK_EGRESS, &PacketContext::at("eth0"), &packet.build());
                prog.flows()[0].outer_port()
            };
            for address in [any, family.host()] {
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
