//! ICMP and ICMPv6 (RFC 792, RFC 4443).

use netpath_common::{
    addr::{Be16, Family},
    reason::Reason,
};
use network_types::icmp::Icmpv6Hdr;

use super::{Parsed, Transport};
use crate::packet::Packet;

/// Bytes of an ICMP header.
pub(super) const ICMP_HEADER: usize = 8;
/// Offset of the checksum.
pub(super) const ICMP_CHECKSUM: usize = 2;

const ECHO_REQUEST: u8 = 8;
const ECHO_REPLY: u8 = 0;
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

/// ICMPv6 type of a router solicitation.
pub const ICMPV6_ROUTER_SOLICITATION: u8 = 133;
/// ICMPv6 type of a router advertisement.
pub const ICMPV6_ROUTER_ADVERTISEMENT: u8 = 134;
/// ICMPv6 type of a neighbour solicitation.
pub const ICMPV6_NEIGHBOUR_SOLICITATION: u8 = 135;
/// ICMPv6 type of a neighbour advertisement.
pub const ICMPV6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// ICMPv6 type of a redirect.
pub const ICMPV6_REDIRECT: u8 = 137;

/// Whether a type is an echo request: 8 in ICMP, 128 in ICMPv6. Neither number is used by the other protocol.
#[inline(always)]
pub(super) fn is_echo_request(icmp_type: u8) -> bool {
    icmp_type == ECHO_REQUEST || icmp_type == V6_ECHO_REQUEST
}

/// See [`Parsed::reports_packet`].
#[inline(always)]
pub(super) fn reports_packet(family: Family, icmp_type: u8) -> bool {
    match family {
        Family::V4 => matches!(icmp_type, 3 | 11 | 12),
        Family::V6 => matches!(icmp_type, 1..=4),
    }
}

/// The length field of an error: number of quoted bytes (RFC 4884 §3, §4), or 0 if it is not set. Its unit is four bytes in
/// ICMP and eight bytes in ICMPv6.
#[inline(always)]
pub(super) fn quote_length<P: Packet>(packet: &P, error: &Parsed) -> Result<usize, Reason> {
    let header = packet
        .header::<Icmpv6Hdr>(error.l3 + error.l4)
        .ok_or(Reason::Malformed)?;
    Ok(match (error.family, error.icmp_type) {
        (Family::V4, 3 | 11 | 12) => (header.data[1] as usize) << 2,
        (Family::V6, 1 | 3) => (header.data[0] as usize) << 3,
        _ => 0,
    })
}

/// Reads the header at `offset`: the type, and the identifier of an echo.
#[inline(always)]
pub(super) fn parse<P: Packet>(
    packet: &P,
    parsed: &mut Parsed,
    offset: usize,
) -> Result<Transport, Reason> {
    let header = packet
        .header::<Icmpv6Hdr>(offset)
        .ok_or(Reason::Malformed)?;
    parsed.icmp_type = header.type_;
    let identifier = Be16::from_raw(u16::from_ne_bytes([header.data[0], header.data[1]]));
    let (request, reply) = match parsed.family {
        Family::V4 => (ECHO_REQUEST, ECHO_REPLY),
        Family::V6 => (V6_ECHO_REQUEST, V6_ECHO_REPLY),
    };
    Ok(if header.type_ == request {
        parsed.key.sport = identifier;
        Transport::Flow
    } else if header.type_ == reply {
        parsed.key.dport = identifier;
        Transport::Flow
    } else {
        match parsed.family {
            // Destination unreachable, source quench, redirect, time exceeded, parameter problem.
            Family::V4 if matches!(header.type_, 3 | 4 | 5 | 11 | 12) => Transport::IcmpError,
            Family::V6 if header.type_ < 128 => Transport::IcmpError,
            Family::V6 if matches!(header.type_, 130..=137 | 143) => Transport::LinkControl,
            _ => Transport::Other,
        }
    })
}
