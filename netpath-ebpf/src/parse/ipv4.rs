//! IPv4 (RFC 791 §3.1).

use netpath_common::{
    addr::{Addr, Family},
    reason::Reason,
};
use network_types::ip::Ipv4Hdr;

use super::{FragmentPosition, Parsed, Transport, transport};
use crate::packet::Packet;

/// Offset of the protocol.
pub(super) const PROTOCOL: usize = 9;

const IDENTIFICATION: usize = 4;
/// More fragments follow.
const MORE_FRAGMENTS: u16 = 0x2000;
/// The fragment offset, in units of eight bytes.
const FRAGMENT_OFFSET: u16 = 0x1fff;

/// Parses the header at `l3` of a packet that has at most `limit` bytes. A `QUOTED` packet may be truncated.
#[inline(always)]
pub(super) fn parse<P: Packet, const QUOTED: bool>(
    packet: &P,
    parsed: &mut Parsed,
    l3: usize,
    limit: usize,
) -> Result<(), Reason> {
    let Some(header) = packet.header::<Ipv4Hdr>(l3) else {
        return parsed.without_source(Reason::Malformed);
    };
    parsed.key.src = Addr::from_raw_v4(u32::from_ne_bytes(header.src_addr));
    parsed.key.dst = Addr::from_raw_v4(u32::from_ne_bytes(header.dst_addr));
    let length = ((header.vihl & 0x0f) as usize) << 2;
    if header.vihl >> 4 != 4 || length < Ipv4Hdr::LEN {
        return Err(Reason::Malformed);
    }
    let total = match u16::from_be_bytes(header.tot_len) {
        // A GSO packet that is longer than the field's maximum has a total length of zero.
        0 if limit > u16::MAX as usize => limit,
        total => total as usize,
    };
    if total < length || (!QUOTED && total > limit) {
        return Err(Reason::Malformed);
    }
    parsed.family = Family::V4;
    parsed.ttl = header.ttl;
    parsed.tos = header.tos;
    parsed.key.protocol = header.proto;
    parsed.l4 = length;
    parsed.end = if QUOTED { limit } else { total };
    let field = u16::from_be_bytes(header.frags);
    if field & (MORE_FRAGMENTS | FRAGMENT_OFFSET) != 0 {
        let fragment = &mut parsed.fragment;
        fragment.id = u16::from_be_bytes(header.id) as u32;
        fragment.id_offset = IDENTIFICATION;
        fragment.payload = length;
        fragment.datagram_offset = ((field & FRAGMENT_OFFSET) as u32) << 3;
        fragment.is_last = field & MORE_FRAGMENTS == 0;
        if field & FRAGMENT_OFFSET != 0 {
            fragment.position = FragmentPosition::Later;
            parsed.transport = Transport::LaterFragment;
            return Ok(());
        }
        fragment.position = FragmentPosition::First;
    }
    transport::parse::<P, QUOTED>(packet, parsed, l3)
}
