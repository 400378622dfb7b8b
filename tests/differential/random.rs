//! Random sessions: several flows at a time, with valid and invalid packets.

use std::env;

use netpath_tests::packet::{ACK, Checksum, FIN, Packet, RST, SYN};

use crate::{
    pair::End,
    sequence::{Flow, Group, IcmpError, Protocol, Remote, Sequence},
};

/// A random generator with a seed (SplitMix64).
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut state = self.0;
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^ (state >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn one_in(&mut self, chances: usize) -> bool {
        self.below(chances) == 0
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }
}

/// The seed: `NETPATH_ORACLE_SEED`, or a random one.
pub fn seed() -> u64 {
    number("NETPATH_ORACLE_SEED").unwrap_or_else(|| {
        let now = std::time::SystemTime::now();
        let since = now.duration_since(std::time::UNIX_EPOCH);
        since.expect("a time after 1970").as_nanos() as u64 % 1_000_000_000
    })
}

/// The number of sessions: `NETPATH_ORACLE_SESSIONS`, or the default.
pub fn sessions() -> u64 {
    number("NETPATH_ORACLE_SESSIONS").unwrap_or(100)
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable}={text} is not a number")),
    )
}

/// The progress of a flow.
#[derive(Clone, Copy)]
struct FlowProgress {
    flow: Flow,
    /// The next sequence numbers of server and client.
    next: [u32; 2],
    /// Packets sent so far.
    sent: usize,
}

/// A random session.
pub fn session(seed: u64, number: u64) -> Sequence {
    let random = &mut Random::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let v6 = random.one_in(2);
    let mut sequence = Sequence::new(Group::Random, v6, format!("seed {seed} session {number}"));
    let mut lines: Vec<FlowProgress> = (0..2 + random.below(3))
        .map(|id| FlowProgress {
            flow: flow(random, id as u16),
            next: [random.next() as u32, random.next() as u32],
            sent: 0,
        })
        .collect();
    for _ in 0..10 + random.below(20) {
        let index = random.below(lines.len());
        sequence = step(random, sequence, v6, &mut lines[index]);
    }
    sequence
}

fn flow(random: &mut Random, id: u16) -> Flow {
    let sandboxes = [End::A1, End::A2, End::B1];
    let sandbox = random.pick(&sandboxes);
    let protocol = random.pick(&[
        Protocol::Tcp,
        Protocol::Tcp,
        Protocol::Udp,
        Protocol::Udp,
        Protocol::Echo,
    ]);
    let flow = match random.below(5) {
        0 | 1 => Flow::out(protocol, sandbox),
        _ if protocol == Protocol::Echo => Flow::out(protocol, sandbox),
        2 | 3 => Flow::published(protocol, sandbox),
        _ => Flow::between(protocol, sandbox, random.pick(&sandboxes)),
    };
    let flow = flow
        .number(id)
        .with(random.pick(&[Remote::Peer, Remote::Second]));
    // Sometimes two sandboxes use the same port, or one uses a port that cannot be kept.
    match random.below(8) {
        0 if flow.server == End::Outside => flow.with_sport(random.pick(&[999, 40_000, 9_999])),
        _ => flow,
    }
}

fn step(random: &mut Random, sequence: Sequence, v6: bool, line: &mut FlowProgress) -> Sequence {
    let flow = line.flow;
    let is_begun = line.sent > 1;
    line.sent += 1;
    match random.below(20) {
        0 | 1 if is_begun => {
            let error = icmp_error(random, v6);
            sequence.icmp_error(flow, random.one_in(2), error)
        }
        2 if is_begun && flow.server == End::Outside => sequence.stray(flow, Remote::Router),
        3 if is_begun => {
            let (sizes, orders): (&[usize], [&[usize]; 4]) = if random.one_in(2) {
                (&[24, 48], [&[0, 1, 2], &[2, 0, 1], &[1, 2, 0], &[2, 1, 0]])
            } else {
                (&[64], [&[0, 1], &[1, 0], &[0], &[1]])
            };
            let order = random.pick(&orders).to_vec();
            let forward = random.one_in(2);
            let shape = shape(random, line, forward);
            let id = random.next() as u16;
            let payload: Vec<u8> = (0..120 + random.below(60))
                .map(|_| random.next() as u8)
                .collect();
            sequence.fragments(flow, forward, sizes, order, move |p| {
                shape(p).id(id).ttl(64).payload(&payload)
            })
        }
        number => {
            // A flow mostly starts with its client. The corpus covers a published port that is also a source port: with
            // TCP, the result depends on all previous packets.
            let is_client_first = flow.protocol == Protocol::Tcp || number != 4;
            let forward = line.sent == 1 && is_client_first || random.one_in(2);
            let shape = shape(random, line, forward);
            sequence.frames(flow, forward, move |p| vec![shape(p).build()])
        }
    }
}

/// The next packet of a flow.
fn shape(
    random: &mut Random,
    line: &mut FlowProgress,
    forward: bool,
) -> impl Fn(Packet) -> Packet + Clone + Send + Sync + 'static {
    let payload = vec![random.next() as u8; random.pick(&[0, 1, 5, 64, 500])];
    let tos = random.pick(&[0, 0, 0, 1, 3, 0xb8]);
    let ttl = random.pick(&[64, 64, 64, 64, 64, 64, 255, 2]);
    let checksum = match random.below(25) {
        0 => Checksum::WrongBy(1 + random.below(0xfffe) as u16),
        1 if line.flow.protocol == Protocol::Udp => Checksum::Absent,
        _ => Checksum::Correct,
    };
    let own = usize::from(forward);
    let flags = match (line.sent, forward) {
        (1, true) if !random.one_in(12) => SYN,
        (2, false) if !random.one_in(6) => SYN | ACK,
        _ => random.pick(&[
            ACK,
            ACK,
            ACK,
            ACK,
            ACK | 8,
            ACK | 8,
            FIN | ACK,
            FIN | ACK,
            RST,
            RST | ACK,
            SYN,
            SYN | ACK,
        ]),
    };
    let [sequence, acknowledged] = [line.next[own], line.next[1 - own]];
    let occupied = payload.len() as u32 + u32::from(flags & (SYN | FIN) != 0);
    line.next[own] = sequence.wrapping_add(occupied);
    let is_tcp = line.flow.protocol == Protocol::Tcp;
    move |packet: Packet| {
        let packet = packet
            .payload(&payload)
            .tos(tos)
            .ttl(ttl)
            .checksum(checksum);
        if is_tcp {
            let acknowledged = if flags & ACK == 0 { 0 } else { acknowledged };
            packet.flags(flags).numbers(sequence, acknowledged)
        } else {
            packet
        }
    }
}

fn icmp_error(random: &mut Random, v6: bool) -> IcmpError {
    let (kind, codes) = if v6 {
        random.pick(&[(1, 7), (2, 1), (3, 2), (4, 3)])
    } else {
        random.pick(&[(3, 16), (11, 2), (12, 3)])
    };
    let mut error = IcmpError::new(kind, random.below(codes) as u8);
    error.quote = random.pick(&[None, None, Some(8), Some(20), Some(28)]);
    error.from = random.pick(&[None, Some(Remote::Router)]);
    error
}
