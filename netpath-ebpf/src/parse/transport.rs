//! Transport headers: ports.

use netpath_common::{
    addr::{Be16, Family},
    flow::{ICMP, ICMPV6, TCP, UDP},
    reason::Reason,
};
use network_types::tcp::TcpHdr;

use super::{Parsed, Transport, icmp};
use crate::packet::Packet;

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

const TCP_FLAGS: usize = 13;
pub(super) const TCP_CHECKSUM: usize = 16;
pub(super) const UDP_CHECKSUM: usize = 6;
/// Bytes of a UDP header.
pub const UDP_HEADER: usize = 8;
/// Bytes of a UDP or ICMP header, and the fewest bytes of a transport header that a quote contains (RFC 792).
const LEAST_TRANSPORT: usize = 8;

/// Parses the transport header at [`Parsed::l4`] of the packet at `l3`. Of a `QUOTED` header only the first eight bytes are
/// needed.
#[inline(always)]
pub(super) fn parse<P: Packet, const QUOTED: bool>(
    packet: &P,
    parsed: &mut Parsed,
    l3: usize,
) -> Result<(), Reason> {
    let least = match parsed.key.protocol {
        TCP if !QUOTED => TcpHdr::LEN,
        TCP | UDP | ICMP | ICMPV6 => LEAST_TRANSPORT,
        _ => 0,
    };
    // Link padding must not be parsed as a header.
    if parsed.l4 + least > parsed.end {
        return Err(Reason::Malformed);
    }
    let offset = l3 + parsed.l4;
    parsed.transport = match (parsed.key.protocol, parsed.family) {
        (TCP, _) => {
            if !QUOTED {
                packet.header::<TcpHdr>(offset).ok_or(Reason::Malformed)?;
                let flags = *packet
                    .header::<u8>(offset + TCP_FLAGS)
                    .ok_or(Reason::Malformed)?;
                parsed.tcp_flags = flags;
            }
            parse_ports(packet, parsed, offset)?
        }
        (UDP, _) => {
            // Checks the bounds of the whole header, which contains the checksum.
            packet
                .header::<[u8; 2]>(offset + UDP_CHECKSUM)
                .ok_or(Reason::Malformed)?;
            parse_ports(packet, parsed, offset)?
        }
        (ICMP, Family::V4) | (ICMPV6, Family::V6) => icmp::parse(packet, parsed, offset)?,
        // This includes SCTP: its checksum is a CRC of the whole packet, which cannot be updated in place.
        _ => Transport::Other,
    };
    Ok(())
}

#[inline(always)]
fn parse_ports<P: Packet>(
    packet: &P,
    parsed: &mut Parsed,
    offset: usize,
) -> Result<Transport, Reason> {
    let ports = packet.header::<[u8; 4]>(offset).ok_or(Reason::Malformed)?;
    parsed.key.sport = Be16::from_raw(u16::from_ne_bytes([ports[0], ports[1]]));
    parsed.key.dport = Be16::from_raw(u16::from_ne_bytes([ports[2], ports[3]]));
    Ok(Transport::Flow)
}
