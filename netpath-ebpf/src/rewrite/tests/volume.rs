//! Many translations, each compared with checksums over all bytes.
//!
//! Half of all 16-bit words are boundary values of the ones'-complement sum, so that combinations of them occur. The sequence
//! is the same in every run. `NETPATH_PAIRS` sets the number of pairs of packet and translation.

use std::env;

use netpath_common::flow::TCP;

use super::*;
use crate::parse::ETHERNET;

/// The default number of pairs; they take about a second in an unoptimised build.
const PAIRS: u64 = 100_000;

/// Boundary values: those that make sums wrap, and the two representations of zero.
const CORNERS: [u16; 8] = [0, 1, 0x7fff, 0x8000, 0x8001, 0xff00, 0xfffe, 0xffff];

/// A fixed sequence of pseudo-random numbers (SplitMix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn word(&mut self) -> u16 {
        let number = self.next();
        if number & 1 == 0 {
            (number >> 16) as u16
        } else {
            CORNERS[(number >> 8) as usize % CORNERS.len()]
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for pair in bytes.chunks_mut(2) {
            let word = self.word().to_be_bytes();
            pair.copy_from_slice(&word[..pair.len()]);
        }
    }
}

/// A packet and the offsets of its fields.
struct Frame {
    bytes: [u8; 160],
    length: usize,
    v4: bool,
    protocol: u8,
    l4: usize,
    checksum: usize,
    /// Whether the transport checksum is correct.
    right: bool,
    /// Whether there is no transport checksum.
    absent: bool,
}

impl Frame {
    fn any(numbers: &mut Numbers) -> Self {
        let shape = numbers.next();
        let v4 = shape & 1 == 0;
        let protocol = match shape >> 1 & 3 {
            0 => TCP,
            1 | 2 => UDP,
            _ if v4 => ICMP,
            _ => ICMPV6,
        };
        let (header, checksum) = match protocol {
            TCP => (20, 16),
            UDP => (8, 6),
            _ => (8, 2),
        };
        let network = if v4 {
            20 + 4 * (shape >> 8 & 3) as usize
        } else {
            40
        };
        // Odd and even lengths are equally frequent.
        let transport = header + (shape >> 16 & 63) as usize;
        let l4 = ETHERNET + network;
        let mut frame = Self {
            bytes: [0; 160],
            length: l4 + transport,
            v4,
            protocol,
            l4,
            checksum: l4 + checksum,
            right: shape >> 24 & 3 != 0,
            absent: protocol == UDP && shape >> 26 & 7 == 0,
        };
        numbers.fill(&mut frame.bytes[..l4 + transport]);
        let bytes = &mut frame.bytes;
        let total = if v4 { network + transport } else { transport } as u16;
        let ip = if v4 { [8, 0] } else { [0x86, 0xdd] };
        bytes[12..14].copy_from_slice(&ip);
        if v4 {
            bytes[14] = 0x40 | (network / 4) as u8;
            bytes[16..18].copy_from_slice(&total.to_be_bytes());
            bytes[20..22].fill(0);
            bytes[23] = protocol;
        } else {
            bytes[14] = 0x60;
            bytes[18..20].copy_from_slice(&total.to_be_bytes());
            bytes[20] = protocol;
        }
        match protocol {
            ICMP => bytes[l4] = if shape >> 32 & 1 == 0 { 8 } else { 0 },
            ICMPV6 => bytes[l4] = 128 + (shape >> 32 & 1) as u8,
            _ => {}
        }
        if protocol == ICMP {
            // Not all zeros: the checksum of an all-zero message is 0xffff, for which an update yields 0.
            bytes[l4 + 6] |= 1;
        }
        frame.finish();
        frame
    }

    /// Sets the header checksum and, if it is to be correct, the transport checksum. Otherwise the latter stays random.
    fn finish(&mut self) {
        if self.v4 {
            self.bytes[24..26].fill(0);
            let sum = !folded(&[&self.bytes[ETHERNET..self.l4]]);
            self.bytes[24..26].copy_from_slice(&sum.to_be_bytes());
        }
        let field = self.checksum..self.checksum + 2;
        if self.absent {
            self.bytes[field].fill(0);
        } else if self.right {
            self.bytes[field.clone()].fill(0);
            let sum = match !self.transport_sum() {
                0 if self.protocol == UDP => 0xffff,
                sum => sum,
            };
            self.bytes[field].copy_from_slice(&sum.to_be_bytes());
        } else if self.protocol == UDP {
            // Zero would mean that there is no checksum.
            self.bytes[self.checksum] |= 1;
        }
    }

    fn transport_sum(&self) -> u16 {
        let body = &self.bytes[self.l4..self.length];
        let addresses = if self.v4 { 26..34 } else { 22..54 };
        let length = (body.len() as u16).to_be_bytes();
        if self.protocol == ICMP {
            return folded(&[body]);
        }
        folded(&[body, &self.bytes[addresses], &length, &[0, self.protocol]])
    }

    /// Verifies both checksums as a receiver does: the sum including the checksum must be 0xffff.
    fn is_right(&self) -> (bool, bool) {
        let network = !self.v4 || folded(&[&self.bytes[ETHERNET..self.l4]]) == 0xffff;
        (network, self.transport_sum() == 0xffff)
    }
}

/// The ones'-complement sum of big-endian 16-bit words (RFC 1071), folded after each word.
fn folded(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u32;
    for part in parts {
        for pair in part.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            sum = (sum & 0xffff) + (sum >> 16);
        }
    }
    sum as u16
}

/// A tuple for the packet: each part is new or unchanged.
fn target(numbers: &mut Numbers, parsed: &Parsed) -> FlowKey {
    let mut addr = |old: Addr| {
        let mut octets = [0; 16];
        numbers.fill(&mut octets);
        match (octets[0] & 3, parsed.family) {
            (0, _) => old,
            (_, Family::V4) => Addr::from_raw_v4(u32::from_ne_bytes([
                octets[4], octets[5], octets[6], octets[7],
            ])),
            (_, Family::V6) => Addr::from_octets(octets),
        }
    };
    let (src, dst) = (addr(parsed.key.src), addr(parsed.key.dst));
    let echo = matches!(parsed.key.protocol, ICMP | ICMPV6);
    let mut port = |old: Be16, answers: bool| match (echo, answers == parsed.opens_flow()) {
        (true, true) => old,
        _ => Be16::new(numbers.word()),
    };
    FlowKey {
        src,
        dst,
        sport: port(parsed.key.sport, false),
        dport: port(parsed.key.dport, true),
        ..parsed.key
    }
}

#[test]
fn translated_checksum_is_valid_if_and_only_if_it_was_valid() {
    let pairs = env::var("NETPATH_PAIRS").map_or(PAIRS, |text| text.parse().unwrap());
    let mut numbers = Numbers(1);
    let (mut right, mut wrong, mut absent, mut all_ones) = (0, 0, 0, 0);
    for pair in 0..pairs {
        let mut frame = Frame::any(&mut numbers);
        let before = frame.is_right();
        let parsed = parsed(&mut frame.bytes[..frame.length]);
        let to = target(&mut numbers, &parsed);
        let length = frame.length;
        let mut packet = Slice(&mut frame.bytes[..length]);
        let done = translate(&mut packet, &parsed, &to, REWRITE_SRC | REWRITE_DST);
        assert_eq!(done, Some(()), "pair {pair}");
        let field = [frame.bytes[frame.checksum], frame.bytes[frame.checksum + 1]];
        if frame.absent {
            assert_eq!(field, [0, 0], "pair {pair}: there was no checksum");
            absent += 1;
            continue;
        }
        assert_eq!(frame.is_right(), before, "pair {pair}: {parsed:?} {to:?}");
        if frame.protocol == UDP {
            assert_ne!(field, [0, 0], "pair {pair}: zero is sent as all ones");
            all_ones += u64::from(field == [0xff, 0xff]);
        }
        if before.1 { right += 1 } else { wrong += 1 }
    }
    // Every case occurred.
    let least = pairs / 50;
    assert!(
        right > least && wrong > least && absent > least,
        "{right} {wrong} {absent}"
    );
    assert!(all_ones > 0);
}
