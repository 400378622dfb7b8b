//! Checksums over all bytes.

use etherparse::IpNumber;

use super::{Content, Reading};

/// The sum of all 16-bit words modulo 65,535 (RFC 1071): zero for data with a correct checksum, otherwise the error of the
/// checksum.
pub fn residue<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut total = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let low = pair.get(1).copied().unwrap_or(0);
            total += u64::from(pair[0]) << 8 | u64::from(low);
        }
    }
    (total % 0xffff) as u32
}

/// Residue of the IPv4 header.
pub fn network_residue(frame: &[u8], reading: &Reading) -> u32 {
    residue([&frame[reading.l3..reading.l4]])
}

/// Residue of the transport header and payload with the pseudo-header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1). ICMPv4 has no
/// pseudo-header.
pub fn transport_residue(frame: &[u8], reading: &Reading) -> u32 {
    let least = if IpNumber(reading.protocol) == IpNumber::TCP {
        20
    } else {
        8
    };
    let end = reading.end.max(reading.l4 + least).min(frame.len());
    let body = &frame[reading.l4..end];
    let length = (body.len() as u32).to_be_bytes();
    let addresses = reading.l3 + if reading.v4 { 12 } else { 8 };
    let span = if reading.v4 { 8 } else { 32 };
    let numbers = [0, reading.protocol];
    let parts = [
        body,
        &frame[addresses..addresses + span],
        &length[..],
        &numbers[..],
    ];
    let bare = IpNumber(reading.protocol) == IpNumber::ICMP;
    residue(parts.into_iter().take(if bare { 1 } else { parts.len() }))
}

/// Offset of the transport checksum.
pub fn checksum_at(reading: &Reading) -> usize {
    reading.l4
        + match reading.content {
            Content::Tcp(_) => 16,
            Content::Udp => 6,
            _ => 2,
        }
}

/// Corrects both checksums. A UDP datagram without a checksum stays without.
pub fn complete(frame: &mut [u8], reading: &Reading) {
    if reading.v4 {
        put(frame, reading.l3 + 10, network_residue(frame, reading));
    }
    let at = checksum_at(reading);
    let absent = reading.content == Content::Udp && frame[at..at + 2] == [0, 0];
    let has_one = !matches!(reading.content, Content::Later | Content::Other);
    if has_one && !absent {
        put(frame, at, transport_residue(frame, reading));
    }
}

/// Subtracts the residue from a checksum. A result of zero is written as 0xffff, as UDP requires.
fn put(frame: &mut [u8], at: usize, remains: u32) {
    let old = u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let new = match (old % 0xffff + 0xffff - remains) % 0xffff {
        0 => 0xffff,
        new => new as u16,
    };
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
}
