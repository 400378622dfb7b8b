//! One pass from the link header to the transport header.
//!
//! ```text
//! ethernet ─► ipv4 | ipv6 ─► transport ─► icmp
//! ```
//!
//! Offsets in [`Parsed`] count from the network header, whose own offset is [`Parsed::l3`]. So packets with and without an
//! Ethernet header, and packets inside others, are parsed and rewritten by the same code.

mod ethernet;
mod icmp;
mod ipv4;
mod ipv6;
#[cfg(test)]
mod tests;
mod transport;

use netpath_common::{
    addr::{Addr, Be16, Family},
    flow::{FlowKey, ICMP, ICMPV6, TCP, UDP},
    reason::Reason,
};

pub use self::{
    ethernet::{
        ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethertype, first_protocol,
        vlan_in_packet,
    },
    icmp::{
        ICMPV6_NEIGHBOUR_ADVERTISEMENT, ICMPV6_NEIGHBOUR_SOLICITATION, ICMPV6_REDIRECT,
        ICMPV6_ROUTER_ADVERTISEMENT, ICMPV6_ROUTER_SOLICITATION,
    },
    transport::{ACK, FIN, RST, SYN, UDP_HEADER},
};
use crate::packet::Packet;

/// What follows the network header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Transport {
    /// TCP, UDP or ICMP echo: has ports or an identifier that can be rewritten.
    Flow,
    /// An ICMP error that quotes another packet.
    IcmpError,
    /// ICMPv6 that is never forwarded: neighbour discovery and multicast listener discovery.
    LinkControl,
    /// A fragment other than the first: no transport header. See [`Parsed::fragment`].
    LaterFragment,
    /// Any other protocol; it is not translated.
    #[default]
    Other,
}

/// Which part of its datagram a packet contains.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FragmentPosition {
    /// The whole datagram.
    #[default]
    Whole,
    /// The first fragment, which contains the transport header.
    First,
    /// Any other fragment.
    Later,
}

/// The fields of a fragment header. All but the position are undefined if the packet is a whole datagram.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fragment {
    /// Offset of the identification from the network header.
    pub id_offset: usize,
    /// Offset of the fragment's data from the network header.
    pub payload: usize,
    /// Offset of the fragment's data in the datagram, in bytes.
    pub datagram_offset: u32,
    /// The identification, in host byte order.
    pub id: u32,
    /// Which part of the datagram this is.
    pub position: FragmentPosition,
    /// Whether this is the last fragment of the datagram.
    pub is_last: bool,
}

/// A parsed packet.
#[derive(Clone, Copy, Debug, Default)]
pub struct Parsed {
    /// The tuple in the packet; ports are zero unless [`Transport::Flow`].
    pub key: FlowKey,
    /// Offset of the network header from the start of the packet.
    pub l3: usize,
    /// Offset of the transport header, or of the data of a later fragment, from the network header.
    pub l4: usize,
    /// Length of the network packet in bytes; link padding may follow it. Of a quoted packet: length of its quoted bytes.
    pub end: usize,
    /// The fields of the fragment header.
    pub fragment: Fragment,
    /// What follows the network header.
    pub transport: Transport,
    /// Address family.
    pub family: Family,
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
            ICMP | ICMPV6 => icmp::is_echo_request(self.icmp_type),
            _ => true,
        }
    }

    /// Whether an ICMP error is for the sender of the quoted packet: destination unreachable, packet too big, time exceeded,
    /// parameter problem. Redirect and source quench are ICMP errors too, but they are for the node and are not
    /// translated.
    #[inline(always)]
    pub fn reports_packet(&self) -> bool {
        icmp::reports_packet(self.family, self.icmp_type)
    }

    /// Offset of the transport checksum from the start of the packet.
    #[inline(always)]
    pub fn checksum_offset(&self) -> usize {
        self.l3
            + self.l4
            + match self.key.protocol {
                TCP => transport::TCP_CHECKSUM,
                UDP => transport::UDP_CHECKSUM,
                _ => icmp::ICMP_CHECKSUM,
            }
    }

    /// Whether the packet is a later fragment.
    #[inline(always)]
    pub fn is_later_fragment(&self) -> bool {
        self.transport == Transport::LaterFragment
    }

    /// The error of a packet whose source address was not read.
    #[inline(always)]
    fn without_source(&mut self, reason: Reason) -> Result<(), Reason> {
        self.key.src = Addr::UNSPECIFIED;
        Err(reason)
    }

    /// Clears the fields that the parser does not always set.
    #[inline(always)]
    fn clear(&mut self) {
        self.key.sport = Be16::new(0);
        self.key.dport = Be16::new(0);
        self.key.pad = 0;
        self.key.pad2 = 0;
        self.transport = Transport::Other;
        self.tcp_flags = 0;
        self.icmp_type = 0;
        self.fragment.position = FragmentPosition::Whole;
    }
}

/// Parses an IP packet with an Ethernet header, which a priority tag may follow.
///
/// # Errors
/// The reason why it cannot be handled: not IP, malformed, or a header chain that is too long. The source address is valid
/// even then; it is `::` if there is none.
#[inline(always)]
pub fn parse<P: Packet>(packet: &P, parsed: &mut Parsed) -> Result<(), Reason> {
    match ethernet::network_header(packet) {
        Some((l3, ethertype)) => parse_at(packet, l3, ethertype, parsed),
        None => parsed.without_source(Reason::Malformed),
    }
}

/// Parses an IP packet whose network header is at `l3` and has the type `ethertype`.
///
/// # Errors
/// As [`parse`].
#[inline(always)]
pub fn parse_at<P: Packet>(
    packet: &P,
    l3: usize,
    ethertype: u16,
    parsed: &mut Parsed,
) -> Result<(), Reason> {
    parsed.clear();
    parsed.l3 = l3;
    let Some(limit) = packet.len().checked_sub(l3) else {
        return parsed.without_source(Reason::Malformed);
    };
    match ethertype {
        ETHERTYPE_IPV4 => ipv4::parse::<P, false>(packet, parsed, l3, limit),
        ETHERTYPE_IPV6 => ipv6::parse::<P, false>(packet, parsed, l3, limit),
        _ => parsed.without_source(Reason::NotOurs),
    }
}

/// Parses the packet that an ICMP error quotes: its network header and the first eight bytes of its transport header, which
/// are always quoted (RFC 792, RFC 4443 §2.4).
///
/// [`Parsed::end`] is the end of the quoted bytes: the end of the message, or the start of its extensions (RFC 4884).
///
/// # Errors
/// [`Reason::Malformed`] if the quote is truncated, [`Reason::TooManyHeaders`] if its header chain is too long.
#[inline(always)]
pub fn parse_quote<P: Packet>(
    packet: &P,
    error: &Parsed,
    quote: &mut Parsed,
) -> Result<(), Reason> {
    quote.clear();
    let start = error.l4 + icmp::ICMP_HEADER;
    let mut limit = error.end.saturating_sub(start);
    let length = icmp::quote_length(packet, error)?;
    if length != 0 && length < limit {
        limit = length;
    }
    quote.l3 = error.l3 + start;
    match error.family {
        Family::V4 => ipv4::parse::<P, true>(packet, quote, quote.l3, limit),
        Family::V6 => ipv6::parse::<P, true>(packet, quote, quote.l3, limit),
    }
}
