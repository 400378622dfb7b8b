//! Random changes of valid packets: every program returns a valid verdict, and no private source leaves.

use std::{env, net::IpAddr};

use netpath_common::reason::Verdict;
use netpath_tests::{
    artifacts,
    packet::{ACK, Packet, SYN, write_pcap},
    prog::{
        ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, PACKET_PROGRAMS, PacketContext, Prog, Setup,
        UPLINK_EGRESS, gateway_mac, sandbox_mac, verdict,
    },
};

const ROUNDS: usize = 20_000;
const ETHERNET: usize = 14;

/// A random generator whose state a failure message can contain (xorshift64*).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() >> 33) as usize % limit.max(1)
    }

    fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }
}

/// Valid packets of every kind, between addresses of every kind.
fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    for family in Family::BOTH {
        let sandboxes = [1, 2, 3, 4, 5, 7, 9].map(|slot| family.sandbox(slot));
        let others = [
            family.client(),
            family.host(),
            family.gateway(1),
            family.unused_address(1),
        ];
        let ends: Vec<IpAddr> = sandboxes.into_iter().chain(others).collect();
        for (src, dst) in ends
            .iter()
            .flat_map(|src| ends.iter().map(move |dst| (*src, *dst)))
        {
            let packet = Packet::ip(src, dst).eth(sandbox_mac(1), gateway_mac(1));
            let packet = if src == family.client() {
                packet.eth(MAC_OUTSIDE, MAC_UPLINK)
            } else {
                packet
            };
            let shapes = [
                packet.clone().tcp(61_500, 8080, SYN),
                packet.clone().tcp(80, 61_500, SYN | ACK),
                packet.clone().udp(61_500, 5353),
                packet.clone().echo_request(3),
                packet.clone().icmp(3, 4, [0; 4]),
                packet.clone().protocol(47),
                packet.clone().udp(1, 5353).fragment(3, true),
                if family.is_v4() {
                    packet.options(&[7, 7, 4, 0, 0, 0, 0]).udp(61_500, 5353)
                } else {
                    packet.extension(60, &[1, 4, 0, 0, 0, 0]).udp(61_500, 5353)
                },
            ];
            seeds.extend(shapes.iter().map(Packet::build));
        }
    }
    seeds
}

fn mutate(random: &mut Random, packet: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        // Most changes are in the headers.
        let reach = if random.below(4) == 0 {
            packet.len()
        } else {
            packet.len().min(ETHERNET + 60)
        };
        let at = random.below(reach);
        match random.below(7) {
            0 => packet[at] ^= 1 << random.below(8),
            1 => packet[at] = random.next() as u8,
            2 => packet[at] = *random.pick(&[0, 1, 4, 6, 17, 43, 44, 58, 60, 0x7f, 0x80, 0xff]),
            3 => packet[at] = packet[at].wrapping_add(1),
            4 => packet.truncate((ETHERNET + 1).max(at)),
            5 => {
                let from = random.below(packet.len());
                packet[at] = packet[from];
            }
            _ => packet.extend((0..random.below(64)).map(|byte| byte as u8)),
        }
    }
}

/// Whether a packet ends within its network header; a test run refuses such packets.
fn is_short(packet: &[u8]) -> bool {
    match packet.get(12..14) {
        Some([0x08, 0x00]) => packet.len() < ETHERNET + 20,
        Some([0x86, 0xdd]) => packet.len() < ETHERNET + 40,
        _ => packet.len() <= ETHERNET,
    }
}

/// The source address of an IP packet.
fn source(packet: &[u8]) -> Option<IpAddr> {
    let at = |from: usize, length: usize| packet.get(ETHERNET + from..ETHERNET + from + length);
    match packet.get(12..14)? {
        [0x08, 0x00] if at(0, 20).is_some() => {
            let octets: [u8; 4] = at(12, 4)?.try_into().ok()?;
            Some(octets.into())
        }
        [0x86, 0xdd] if at(0, 40).is_some() => {
            let octets: [u8; 16] = at(8, 16)?.try_into().ok()?;
            Some(octets.into())
        }
        _ => None,
    }
}

/// Whether an address belongs to a network that is translated or internal, and not to the node.
fn is_private(ip: IpAddr) -> bool {
    let of_network = |network| {
        let family = Family::BOTH[usize::from(ip.is_ipv6())];
        let gateway = family.gateway(network);
        let prefix = ipnet::IpNet::new(gateway, if ip.is_ipv4() { 24 } else { 64 });
        prefix.expect("prefix").contains(&ip) && ip != gateway
    };
    [1, 2, 4, 5, 7, 8].into_iter().any(of_network)
}

#[test]
fn mutated_packets_get_a_valid_verdict_and_no_private_source_leaves() {
    let seed = env::var("NETPATH_FUZZ_SEED").map_or(0x9e37_79b9_7f4a_7c15, |text| {
        text.parse()
            .expect("NETPATH_FUZZ_SEED: a number other than 0")
    });
    let mut random = Random(seed);
    let seeds = seeds();
    Prog::with(Setup::default(), |prog| {
        for round in 0..ROUNDS {
            let mut packet = random.pick(&seeds).clone();
            mutate(&mut random, &mut packet);
            for program in PACKET_PROGRAMS {
                let device = if program.starts_with("uplink") {
                    "eth0"
                } else {
                    "ve1"
                };
                let context = PacketContext {
                    mark: 0,
                    device: device.to_owned(),
                    from: (random.below(2) == 0)
                        .then(|| (*random.pick(&["ve2", "eth0"])).to_owned()),
                    gso_size: 0,
                };
                let outcome = match prog.try_run(program, &context, &packet) {
                    Ok(outcome) => outcome,
                    Err(_) if is_short(&packet) => continue,
                    Err(error) => panic!("seed {seed}, round {round}, {program}: {error:?}"),
                };
                let complaint = match verdict(outcome.verdict) {
                    None => Some(format!("verdict {:#x}", outcome.verdict)),
                    Some(Verdict::Pass) if program == UPLINK_EGRESS => source(&outcome.packet)
                        .filter(|ip| is_private(*ip))
                        .map(|ip| format!("{ip} leaves")),
                    Some(Verdict::Forward) if program == ENDPOINT_IN => (packet.get(6..12)
                        != Some(&sandbox_mac(1)))
                    .then(|| "another MAC address is forwarded".to_owned()),
                    Some(_) => None,
                };
                if let Some(complaint) = complaint {
                    let path = artifacts().join("mutated.pcap");
                    write_pcap(&path, &[&packet, &outcome.packet]).expect("pcap");
                    panic!("seed {seed}, round {round}, {program}: {complaint}: {packet:02x?}");
                }
            }
            if round % 256 == 0 {
                assert_eq!(prog.wrong_usage(), [], "seed {seed}, round {round}");
                prog.forget_flows();
            }
        }
        let seen: Vec<_> = prog
            .counters()
            .into_iter()
            .filter(|(_, packets, _)| *packets > 0)
            .collect();
        for (reason, packets, _) in &seen {
            println!("{packets:>8}  {}", reason.name());
        }
        assert!(seen.len() > 20, "the packets cover too few reasons");
    });
}
