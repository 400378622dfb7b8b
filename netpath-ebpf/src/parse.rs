//! One pass from the Ethernet header to the transport header.

use netpath_common::{
    addr::{Addr, Be16},
    flow::{FlowKey, ICMP, ICMPV6, TCP, UDP},
    reason::Reason,
};
use network_types::{
    icmp::Icmpv6Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
    tcp::TcpHdr,
};

use crate::packet::Packet;

/// Bytes of an Ethernet header.
pub const ETHERNET: usize = 14;
/// Ethertype of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// Ethertype of ARP.
pub const ETHERTYPE_ARP: u16 = 0x0806;
/// Ethertype of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;

const TCP_CHECKSUM: usize = 16;
const UDP_CHECKSUM: usize = 6;
const ICMP_CHECKSUM: usize = 2;
const TCP_FLAGS: usize = 13;

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

/// IPv6 headers that are looked at, the transport's included; RFC 8200 §4.1 orders at most five that are followed here.
const MAX_HEADERS: usize = 6;

/// What stands behind the network header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    /// Has ports, or an echo identifier, at a place that can be rewritten.
    Flow,
    /// An ICMP error that quotes another packet.
    IcmpError,
    /// ICMPv6 that never leaves a link: neighbour discovery and multicast listener discovery.
    LinkControl,
    /// A fragment other than the first: no transport header.
    LaterFragment,
    /// A protocol without ports that are known here.
    #[default]
    Other,
}

/// A parsed packet. Offsets count from the Ethernet header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parsed {
    /// The tuple as it stands in the packet; ports are zero unless [`Transport::Flow`].
    pub key: FlowKey,
    /// Offset of the transport header.
    pub l4: usize,
    /// What stands there.
    pub transport: Transport,
    /// IPv4 rather than IPv6.
    pub v4: bool,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// ICMP type; 0 for other protocols.
    pub icmp_type: u8,
}

impl Parsed {
    /// Whether this packet may open a flow.
    #[inline(always)]
    pub fn opens_flow(&self) -> bool {
        match self.key.protocol {
            TCP => self.tcp_flags & (SYN | ACK | RST | FIN) == SYN,
            // The destination port of an echo reply is its identifier, that of a request is zero.
            ICMP | ICMPV6 => {
                self.icmp_type == ICMP_ECHO_REQUEST || self.icmp_type == ICMPV6_ECHO_REQUEST
            }
            _ => true,
        }
    }

    /// Offset of the transport checksum.
    #[inline(always)]
    pub fn checksum_offset(&self) -> usize {
        self.l4
            + match self.key.protocol {
                TCP => TCP_CHECKSUM,
                UDP => UDP_CHECKSUM,
                _ => ICMP_CHECKSUM,
            }
    }
}

const ICMP_ECHO_REPLY: u8 = 0;
const ICMP_ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;

/// ICMPv6 type of a router advertisement.
pub const ICMPV6_ROUTER_ADVERTISEMENT: u8 = 134;
/// ICMPv6 type of a neighbour advertisement.
pub const ICMPV6_NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// ICMPv6 type of a redirect.
pub const ICMPV6_REDIRECT: u8 = 137;

/// The ethertype, or `None` if not even an Ethernet header is there.
#[inline(always)]
pub fn ethertype<P: Packet>(packet: &P) -> Option<u16> {
    packet
        .header::<[u8; 2]>(12)
        .map(|bytes| u16::from_be_bytes(*bytes))
}

/// Parses an IP packet into `parsed`.
///
/// # Errors
/// The reason why it cannot be handled: not IP, malformed, or a header chain that is too long. The source address is
/// right even then; it is `::` if there is none.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<(), Reason> {
    parsed.clear();
    match ethertype(packet) {
        Some(ETHERTYPE_IPV4) => parse_v4(packet, parsed),
        Some(ETHERTYPE_IPV6) => parse_v6(packet, parsed),
        Some(_) => Err(Reason::NotOurs),
        None => Err(Reason::Malformed),
    }
}

impl Parsed {
    /// Forgets the packet before.
    #[inline(always)]
    fn clear(&mut self) {
        self.key.src = Addr::UNSPECIFIED;
        self.key.sport = Be16::new(0);
        self.key.dport = Be16::new(0);
        self.key.pad = 0;
        self.key.pad2 = 0;
        self.transport = Transport::Other;
        self.tcp_flags = 0;
        self.icmp_type = 0;
    }
}

/// RFC 791 §3.1.
#[inline(always)]
fn parse_v4<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<(), Reason> {
    let header = packet
        .header::<Ipv4Hdr>(ETHERNET)
        .ok_or(Reason::Malformed)?;
    parsed.key.src = Addr::from_raw_v4(u32::from_ne_bytes(header.src_addr));
    parsed.key.dst = Addr::from_raw_v4(u32::from_ne_bytes(header.dst_addr));
    let length = ((header.vihl & 0x0f) as usize) << 2;
    if header.vihl >> 4 != 4 || length < Ipv4Hdr::LEN {
        return Err(Reason::Malformed);
    }
    // A packet that is put together from many may be longer than the field can say: it says zero then.
    let total = match u16::from_be_bytes(header.tot_len) {
        0 if packet.len() > ETHERNET + u16::MAX as usize => packet.len() - ETHERNET,
        total => total as usize,
    };
    if total < length || total + ETHERNET > packet.len() {
        return Err(Reason::Malformed);
    }
    let fragment = u16::from_be_bytes(header.frags);
    parsed.v4 = true;
    parsed.ttl = header.ttl;
    parsed.tos = header.tos;
    parsed.key.protocol = header.proto;
    parsed.l4 = ETHERNET + length;
    if fragment & 0x1fff != 0 {
        parsed.transport = Transport::LaterFragment;
        return Ok(());
    }
    parse_transport(packet, parsed)
}

/// RFC 8200 §3 and §4.
#[inline(always)]
fn parse_v6<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<(), Reason> {
    let header = packet
        .header::<Ipv6Hdr>(ETHERNET)
        .ok_or(Reason::Malformed)?;
    let source = &header.src_addr;
    let destination = &header.dst_addr;
    parsed.key.src = Addr::from_octets(*source);
    parsed.key.dst = Addr::from_octets(*destination);
    if header.vcf[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    // A jumbogram says zero; nothing here carries one, and a GSO packet may be larger than the field can say.
    let payload = u16::from_be_bytes(header.payload_len) as usize;
    if payload != 0 && payload + ETHERNET + Ipv6Hdr::LEN > packet.len() {
        return Err(Reason::Malformed);
    }
    parsed.v4 = false;
    parsed.ttl = header.hop_limit;
    parsed.tos = (header.vcf[0] << 4) | (header.vcf[1] >> 4);
    let mut next = header.next_hdr;
    let mut offset = ETHERNET + Ipv6Hdr::LEN;
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
                offset += 8;
                // An atomic fragment (RFC 6946) is a whole packet, and has no offset either.
                if field & 0xfff8 != 0 {
                    parsed.key.protocol = next;
                    parsed.l4 = offset;
                    parsed.transport = Transport::LaterFragment;
                    return Ok(());
                }
            }
            _ => {
                parsed.key.protocol = next;
                parsed.l4 = offset;
                return parse_transport(packet, parsed);
            }
        }
        if offset > MAX_OFFSET {
            return Err(Reason::TooManyHeaders);
        }
    }
    Err(Reason::TooManyHeaders)
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Where a transport header must begin at the latest.
const MAX_OFFSET: usize = 512;

#[inline(always)]
fn parse_transport<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<(), Reason> {
    parsed.transport = match parsed.key.protocol {
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

#[cfg(test)]
mod tests;
