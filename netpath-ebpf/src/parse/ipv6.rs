//! IPv6 and its extension headers (RFC 8200 §3 and §4).

use netpath_common::{
    addr::{Addr, Family},
    reason::Reason,
};
use network_types::ip::Ipv6Hdr;

use super::{FragmentPosition, Parsed, Transport, transport};
use crate::packet::Packet;

/// Offset of the number of the next header.
pub(super) const NEXT_HEADER: usize = 6;

/// Most headers that are followed, including the transport header: RFC 8200 §4.1 recommends at most five extension headers.
const MAX_HEADERS: usize = 6;
/// Largest offset of a transport header from the start of the packet.
const MAX_OFFSET: usize = 512;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Offset of the identification in a fragment header.
const IDENTIFICATION: usize = 4;
/// Bytes of a fragment header.
const FRAGMENT_HEADER: usize = 8;
/// More fragments follow (RFC 8200 §4.5).
const MORE_FRAGMENTS: u16 = 0x0001;
/// The fragment offset. The field has units of eight bytes and is shifted by three bits, so its masked value is in bytes.
const FRAGMENT_OFFSET: u16 = 0xfff8;

/// Parses the header at `l3` of a packet that has at most `limit` bytes. A `QUOTED` packet may be truncated.
#[inline(always)]
pub(super) fn parse<P: Packet, const QUOTED: bool>(
    packet: &P,
    parsed: &mut Parsed,
    l3: usize,
    limit: usize,
) -> Result<(), Reason> {
    let Some(header) = packet.header::<Ipv6Hdr>(l3) else {
        return parsed.without_source(Reason::Malformed);
    };
    let source = &header.src_addr;
    let destination = &header.dst_addr;
    parsed.key.src = Addr::from_octets(*source);
    parsed.key.dst = Addr::from_octets(*destination);
    if header.vcf[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    // A v4-mapped address (RFC 4291 §2.5.5.2) is not valid in a packet; in the maps it would match an IPv4 address.
    if parsed.key.src.is_v4() || parsed.key.dst.is_v4() {
        return Err(Reason::Martian);
    }
    let payload = match u16::from_be_bytes(header.payload_len) {
        // A GSO packet that is longer than the field's maximum has a payload length of zero. Jumbograms are not supported.
        0 if limit > Ipv6Hdr::LEN + u16::MAX as usize => limit - Ipv6Hdr::LEN,
        payload => payload as usize,
    };
    if !QUOTED && payload + Ipv6Hdr::LEN > limit {
        return Err(Reason::Malformed);
    }
    parsed.family = Family::V6;
    parsed.end = if QUOTED {
        limit
    } else {
        Ipv6Hdr::LEN + payload
    };
    parsed.ttl = header.hop_limit;
    parsed.tos = (header.vcf[0] << 4) | (header.vcf[1] >> 4);
    let first = header.next_hdr;
    parse_chain::<P, QUOTED>(packet, parsed, l3, first)
}

/// Follows the extension headers to the transport header.
#[inline(always)]
fn parse_chain<P: Packet, const QUOTED: bool>(
    packet: &P,
    parsed: &mut Parsed,
    l3: usize,
    first: u8,
) -> Result<(), Reason> {
    let mut next = first;
    let mut offset = l3 + Ipv6Hdr::LEN;
    for _ in 0..MAX_HEADERS {
        match next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                let extension = packet.header::<[u8; 2]>(offset).ok_or(Reason::Malformed)?;
                next = extension[0];
                offset += (extension[1] as usize + 1) << 3;
            }
            FRAGMENT => {
                let extension = packet.header::<[u8; 4]>(offset).ok_or(Reason::Malformed)?;
                next = extension[0];
                let field = u16::from_be_bytes([extension[2], extension[3]]);
                let id = packet
                    .header::<[u8; 4]>(offset + IDENTIFICATION)
                    .ok_or(Reason::Malformed)?;
                // An atomic fragment (RFC 6946) is a whole datagram: no offset, no further fragments.
                if field & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
                    let fragment = &mut parsed.fragment;
                    fragment.id = u32::from_be_bytes(*id);
                    fragment.id_offset = offset + IDENTIFICATION - l3;
                    fragment.payload = offset + FRAGMENT_HEADER - l3;
                    fragment.datagram_offset = (field & FRAGMENT_OFFSET) as u32;
                    fragment.is_last = field & MORE_FRAGMENTS == 0;
                    fragment.position = FragmentPosition::First;
                }
                offset += FRAGMENT_HEADER;
                if field & FRAGMENT_OFFSET != 0 {
                    parsed.key.protocol = next;
                    parsed.l4 = offset - l3;
                    parsed.fragment.position = FragmentPosition::Later;
                    parsed.transport = Transport::LaterFragment;
                    return Ok(());
                }
            }
            _ => {
                parsed.key.protocol = next;
                parsed.l4 = offset - l3;
                return transport::parse::<P, QUOTED>(packet, parsed, l3);
            }
        }
        if offset > MAX_OFFSET {
            return Err(Reason::TooManyHeaders);
        }
    }
    Err(Reason::TooManyHeaders)
}
