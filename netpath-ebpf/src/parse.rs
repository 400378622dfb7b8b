//! One pass from the Ethernet header to the transport header.

mod transport;

use netpath_common::{
    addr::{Addr, Be16},
    flow::{FlowKey, ICMP, ICMPV6, TCP, UDP},
    reason::Reason,
};
use network_types::{
    icmp::Icmpv6Hdr,
    ip::{Ipv4Hdr, Ipv6Hdr},
};

use self::transport::{ICMP_ECHO_REQUEST, ICMP_HEADER, ICMPV6_ECHO_REQUEST, parse_transport};
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
    /// A fragment other than the first: no transport header. See [`Parsed::piece`].
    LaterFragment,
    /// A protocol without ports that are known here.
    #[default]
    Other,
}

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Piece {
    /// All of it.
    #[default]
    Whole,
    /// Its beginning, with the transport header.
    First,
    /// Another part.
    Later,
}

/// A parsed packet. Offsets count from the Ethernet header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parsed {
    /// The tuple as it stands in the packet; ports are zero unless [`Transport::Flow`].
    pub key: FlowKey,
    /// Offset of the network header.
    pub l3: usize,
    /// Offset of the transport header; of what a later fragment carries.
    pub l4: usize,
    /// Offset of the first byte behind the network packet: what follows is padding of the link.
    pub end: usize,
    /// Offset of the identification that fragments share, and which bytes of the datagram this one carries: where they
    /// begin in the packet and in the datagram. Unless the packet is whole.
    pub id_offset: usize,
    /// See [`Self::id_offset`].
    pub piece_start: usize,
    /// See [`Self::id_offset`].
    pub piece_at: u32,
    /// The identification, in host byte order.
    pub id: u32,
    /// Which part of its datagram this is.
    pub piece: Piece,
    /// No part comes behind this one.
    pub is_last: bool,
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

    /// Whether an ICMP error tells what became of a packet, in a way that concerns its sender: destination unreachable,
    /// packet too big, time exceeded, parameter problem. Redirects and source quench end at the node.
    #[inline(always)]
    pub fn reports_packet(&self) -> bool {
        if self.v4 {
            matches!(self.icmp_type, 3 | 11 | 12)
        } else {
            matches!(self.icmp_type, 1..=4)
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

/// Whether a frame carries ICMP or ICMPv6, as far as its first header tells: a look that costs less than parsing.
#[inline(always)]
pub fn may_be_icmp<P: Packet>(packet: &P) -> bool {
    let (offset, protocol) = match ethertype(packet) {
        Some(ETHERTYPE_IPV4) => (ETHERNET + 9, ICMP),
        Some(ETHERTYPE_IPV6) => (ETHERNET + 6, ICMPV6),
        _ => return false,
    };
    match packet.header::<u8>(offset) {
        Some(found) => *found == protocol,
        None => false,
    }
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
        Some(ETHERTYPE_IPV4) => parse_v4::<P, false>(packet, parsed, ETHERNET, packet.len()),
        Some(ETHERTYPE_IPV6) => parse_v6::<P, false>(packet, parsed, ETHERNET, packet.len()),
        Some(_) => Err(Reason::NotOurs),
        None => Err(Reason::Malformed),
    }
}

/// Parses the packet that an ICMP error quotes: its network header and the eight bytes of transport header that are
/// there at least (RFC 792, RFC 4443 §2.4).
///
/// [`Parsed::end`] is where the quoted bytes end: at the end of the message, or where its extensions begin (RFC 4884).
///
/// # Errors
/// [`Reason::Malformed`] if the quote is cut short, [`Reason::TooManyHeaders`] if its header chain is too long.
#[inline(always)]
pub fn parse_quote<P: Packet>(
    packet: &P,
    error: &Parsed,
    quote: &mut Parsed,
) -> Result<(), Reason> {
    quote.clear();
    let start = error.l4 + ICMP_HEADER;
    let header = packet
        .header::<Icmpv6Hdr>(error.l4)
        .ok_or(Reason::Malformed)?;
    // The length of the quote, where one is given, in words of four or eight bytes (RFC 4884 §3, §4).
    let length = if error.v4 {
        match error.icmp_type {
            3 | 11 | 12 => (header.data[1] as usize) << 2,
            _ => 0,
        }
    } else {
        match error.icmp_type {
            1 | 3 => (header.data[0] as usize) << 3,
            _ => 0,
        }
    };
    let mut limit = error.end;
    if length != 0 && start + length < limit {
        limit = start + length;
    }
    if error.v4 {
        parse_v4::<P, true>(packet, quote, start, limit)
    } else {
        parse_v6::<P, true>(packet, quote, start, limit)
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
        self.piece = Piece::Whole;
    }
}

/// RFC 791 §3.1. Of a `QUOTED` packet not all need be there; it ends at `limit` at the latest.
#[inline(always)]
fn parse_v4<P: Packet, const QUOTED: bool>(
    packet: &P,
    parsed: &mut Parsed,
    l3: usize,
    limit: usize,
) -> Result<(), Reason> {
    let header = packet.header::<Ipv4Hdr>(l3).ok_or(Reason::Malformed)?;
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
    if total < length || (!QUOTED && total + l3 > limit) {
        return Err(Reason::Malformed);
    }
    let fragment = u16::from_be_bytes(header.frags);
    parsed.v4 = true;
    parsed.ttl = header.ttl;
    parsed.tos = header.tos;
    parsed.key.protocol = header.proto;
    parsed.l3 = l3;
    parsed.l4 = l3 + length;
    parsed.end = if QUOTED { limit } else { l3 + total };
    if fragment & (V4_MORE | V4_FRAGMENT_OFFSET) != 0 {
        parsed.id = u16::from_be_bytes(header.id) as u32;
        parsed.id_offset = l3 + V4_ID;
        parsed.piece_start = l3 + length;
        parsed.piece_at = ((fragment & V4_FRAGMENT_OFFSET) as u32) << 3;
        parsed.is_last = fragment & V4_MORE == 0;
        if fragment & V4_FRAGMENT_OFFSET != 0 {
            parsed.piece = Piece::Later;
            parsed.transport = Transport::LaterFragment;
            return Ok(());
        }
        parsed.piece = Piece::First;
    }
    parse_transport::<P, QUOTED>(packet, parsed)
}

const V4_ID: usize = 4;
/// More fragments follow (RFC 791 §3.1).
const V4_MORE: u16 = 0x2000;
/// In units of eight bytes.
const V4_FRAGMENT_OFFSET: u16 = 0x1fff;

/// RFC 8200 §3 and §4. Of a `QUOTED` packet not all need be there; it ends at `limit` at the latest.
#[inline(always)]
fn parse_v6<P: Packet, const QUOTED: bool>(
    packet: &P,
    parsed: &mut Parsed,
    l3: usize,
    limit: usize,
) -> Result<(), Reason> {
    let header = packet.header::<Ipv6Hdr>(l3).ok_or(Reason::Malformed)?;
    let source = &header.src_addr;
    let destination = &header.dst_addr;
    parsed.key.src = Addr::from_octets(*source);
    parsed.key.dst = Addr::from_octets(*destination);
    if header.vcf[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    // An IPv4 address in IPv6's clothes would be looked up as one (RFC 4291 §2.5.5.2; it never stands in a packet).
    if parsed.key.src.is_v4() || parsed.key.dst.is_v4() {
        return Err(Reason::Martian);
    }
    // A jumbogram says zero; nothing here carries one, and a GSO packet may be larger than the field can say.
    let payload = u16::from_be_bytes(header.payload_len) as usize;
    let content = l3 + Ipv6Hdr::LEN;
    if !QUOTED && payload != 0 && payload + content > limit {
        return Err(Reason::Malformed);
    }
    parsed.v4 = false;
    parsed.l3 = l3;
    parsed.end = if QUOTED || payload == 0 {
        limit
    } else {
        content + payload
    };
    parsed.ttl = header.hop_limit;
    parsed.tos = (header.vcf[0] << 4) | (header.vcf[1] >> 4);
    let mut next = header.next_hdr;
    let mut offset = content;
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
                    .header::<[u8; 4]>(offset + V6_ID)
                    .ok_or(Reason::Malformed)?;
                // An atomic fragment (RFC 6946) is a whole packet, and has no offset either.
                if field & (V6_MORE | V6_FRAGMENT_OFFSET) != 0 {
                    parsed.id = u32::from_be_bytes(*id);
                    parsed.id_offset = offset + V6_ID;
                    parsed.piece_start = offset + 8;
                    parsed.piece_at = (field & V6_FRAGMENT_OFFSET) as u32;
                    parsed.is_last = field & V6_MORE == 0;
                    parsed.piece = Piece::First;
                }
                offset += 8;
                if field & V6_FRAGMENT_OFFSET != 0 {
                    parsed.key.protocol = next;
                    parsed.l4 = offset;
                    parsed.piece = Piece::Later;
                    parsed.transport = Transport::LaterFragment;
                    return Ok(());
                }
            }
            _ => {
                parsed.key.protocol = next;
                parsed.l4 = offset;
                return parse_transport::<P, QUOTED>(packet, parsed);
            }
        }
        if offset > MAX_OFFSET {
            return Err(Reason::TooManyHeaders);
        }
    }
    Err(Reason::TooManyHeaders)
}

const V6_ID: usize = 4;
/// More fragments follow (RFC 8200 §4.5).
const V6_MORE: u16 = 0x0001;
/// In units of eight bytes, where it stands in the field: so as a number, in bytes.
const V6_FRAGMENT_OFFSET: u16 = 0xfff8;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION: u8 = 60;

/// Where a transport header must begin at the latest.
const MAX_OFFSET: usize = 512;

#[cfg(test)]
mod tests;
