//! Transport headers: ports, echo identifiers, and what ICMP says.

use netpath_common::{
    addr::Be16,
    flow::{ICMP, ICMPV6, TCP, UDP},
    reason::Reason,
};
use network_types::{icmp::Icmpv6Hdr, tcp::TcpHdr};

use super::{Parsed, Transport, UDP_CHECKSUM};
use crate::packet::Packet;

const TCP_FLAGS: usize = 13;

pub(super) const ICMP_ECHO_REQUEST: u8 = 8;
const ICMP_ECHO_REPLY: u8 = 0;
pub(super) const ICMPV6_ECHO_REQUEST: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;

/// Looks at the transport header at [`Parsed::l4`]. Of a `QUOTED` one only its first eight bytes need be there.
#[inline(always)]
pub(super) fn parse_transport<P: Packet, const QUOTED: bool>(
    packet: &P,
    parsed: &mut Parsed,
) -> Result<(), Reason> {
    let least = match parsed.key.protocol {
        TCP if !QUOTED => TcpHdr::LEN,
        TCP | UDP | ICMP | ICMPV6 => LEAST_TRANSPORT,
        _ => 0,
    };
    // What stands in the padding of the link is no header.
    if parsed.l4 + least > parsed.end {
        return Err(Reason::Malformed);
    }
    parsed.transport = match parsed.key.protocol {
        TCP if QUOTED => parse_ports(packet, parsed)?,
        TCP => {
            packet
                .header::<TcpHdr>(parsed.l4)
                .ok_or(Reason::Malformed)?;
            let flags = *packet
                .header::<u8>(parsed.l4 + TCP_FLAGS)
                .ok_or(Reason::Malformed)?;
            parsed.tcp_flags = flags;
            parse_ports(packet, parsed)?
        }
        UDP => {
            // Proves the whole header, so that the checksum can be reached.
            packet
                .header::<[u8; 2]>(parsed.l4 + UDP_CHECKSUM)
                .ok_or(Reason::Malformed)?;
            parse_ports(packet, parsed)?
        }
        ICMP if parsed.v4 => parse_icmp(packet, parsed, ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY)?,
        ICMPV6 if !parsed.v4 => parse_icmp(packet, parsed, ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY)?,
        // SCTP too: its checksum is a CRC over everything, which cannot be updated in place.
        _ => Transport::Other,
    };
    Ok(())
}

/// Bytes of an ICMP header.
pub(super) const ICMP_HEADER: usize = 8;
/// Bytes of a header of UDP or ICMP, and of any that is quoted, which are there at least (RFC 792).
const LEAST_TRANSPORT: usize = 8;

#[inline(always)]
fn parse_ports<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<Transport, Reason> {
    let ports = packet
        .header::<[u8; 4]>(parsed.l4)
        .ok_or(Reason::Malformed)?;
    parsed.key.sport = Be16::from_raw(u16::from_ne_bytes([ports[0], ports[1]]));
    parsed.key.dport = Be16::from_raw(u16::from_ne_bytes([ports[2], ports[3]]));
    Ok(Transport::Flow)
}

/// RFC 792 and RFC 4443: type, code, checksum, and for echo the identifier.
#[inline(always)]
fn parse_icmp<P: Packet>(
    packet: &P,
    parsed: &mut Parsed,
    request: u8,
    reply: u8,
) -> Result<Transport, Reason> {
    let header = packet
        .header::<Icmpv6Hdr>(parsed.l4)
        .ok_or(Reason::Malformed)?;
    parsed.icmp_type = header.type_;
    let identifier = Be16::from_raw(u16::from_ne_bytes([header.data[0], header.data[1]]));
    Ok(if header.type_ == request {
        parsed.key.sport = identifier;
        Transport::Flow
    } else if header.type_ == reply {
        parsed.key.dport = identifier;
        Transport::Flow
    } else if parsed.v4 {
        // Destination unreachable, source quench, redirect, time exceeded, parameter problem.
        if matches!(header.type_, 3 | 4 | 5 | 11 | 12) {
            Transport::IcmpError
        } else {
            Transport::Other
        }
    } else if header.type_ < 128 {
        Transport::IcmpError
    } else if matches!(header.type_, 130..=137 | 143) {
        Transport::LinkControl
    } else {
        Transport::Other
    })
}
