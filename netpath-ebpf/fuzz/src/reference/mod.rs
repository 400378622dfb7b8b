//! The reference: parsing by etherparse, and checksums over all bytes.

mod checksum;

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};

pub use checksum::{checksum_at, complete, network_residue, transport_residue};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Most extension headers that are followed, and the largest offset of the transport header.
const MOST_EXTENSIONS: usize = 5;
const LATEST_TRANSPORT: usize = 512;

/// What follows the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP.
    Udp,
    /// An echo request or reply, of this type.
    Echo(u8),
    /// An ICMP error of this type.
    Error(u8),
    /// Neighbour or multicast listener discovery, of this type.
    Control(u8),
    /// Another ICMP message, of this type.
    Message(u8),
    /// A fragment other than the first.
    Later,
    /// Another protocol.
    Other,
}

/// Fields of a fragment header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fragment {
    /// The identification.
    pub id: u32,
    /// Offset of the identification in the frame.
    pub id_at: usize,
    /// Offset of the fragment's data in the frame.
    pub start: usize,
    /// Offset of the fragment's data in the datagram.
    pub at: u32,
    /// Whether this is the last fragment.
    pub is_last: bool,
}

/// The expected result of parsing a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// IPv4 rather than IPv6.
    pub v4: bool,
    /// Source address, in network order.
    pub source: Vec<u8>,
    /// Destination address.
    pub destination: Vec<u8>,
    /// Ports, or the identifier in place of the port of the requesting side.
    pub ports: (u16, u16),
    /// Number of the transport protocol.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Offset of the network header in the frame.
    pub l3: usize,
    /// Offset of the transport header.
    pub l4: usize,
    /// The fragment header; `None` for a whole datagram.
    pub fragment: Option<Fragment>,
    /// End of the packet. A frame may be padded, a quoted packet may be truncated.
    pub end: usize,
    /// What follows the network header.
    pub content: Content,
}

/// Why a frame cannot be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not IP.
    Foreign,
    /// Truncated or inconsistent headers.
    Malformed,
    /// The header chain is longer than [`MOST_EXTENSIONS`] permits.
    Chain,
    /// An address that is not valid in a packet.
    Martian,
}

/// Whether a packet is complete.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extent {
    /// The whole packet.
    Whole,
    /// A quote in an ICMP error: at least the network header and eight bytes after it.
    Quoted,
}

/// Parses a frame.
pub fn read(frame: &[u8]) -> Result<Reading, Refusal> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| Refusal::Malformed)?;
    let (l3, kind) = match (ethernet.ether_type(), frame.get(ETHERNET..ETHERNET + 4)) {
        // A priority tag: VLAN identifier 0.
        (
            EtherType::VLAN_TAGGED_FRAME | EtherType::PROVIDER_BRIDGING,
            Some(&[priority, 0, a, b]),
        ) if priority & 0x0f == 0 => (ETHERNET + 4, EtherType(u16::from_be_bytes([a, b]))),
        (kind, _) => (ETHERNET, kind),
    };
    match kind {
        EtherType::IPV4 => read_v4(frame, l3, frame.len(), Extent::Whole),
        EtherType::IPV6 => read_v6(frame, l3, frame.len(), Extent::Whole),
        _ => Err(Refusal::Foreign),
    }
}

/// Parses the packet that an ICMP error quotes (RFC 792, RFC 4443 §3, RFC 4884 §3 to §5).
pub fn read_quote(frame: &[u8], error: &Reading) -> Result<Reading, Refusal> {
    let start = error.l4 + 8;
    let words = match (error.v4, error.content) {
        (true, Content::Error(3 | 11 | 12)) => usize::from(frame[error.l4 + 5]) * 4,
        (false, Content::Error(1 | 3)) => usize::from(frame[error.l4 + 4]) * 8,
        _ => 0,
    };
    let end = match words {
        0 => error.end,
        length => error.end.min(start + length),
    };
    if error.v4 {
        read_v4(frame, start, end, Extent::Quoted)
    } else {
        read_v6(frame, start, end, Extent::Quoted)
    }
}

fn read_v4(frame: &[u8], l3: usize, limit: usize, extent: Extent) -> Result<Reading, Refusal> {
    let rest = frame.get(l3..).unwrap_or_default();
    // The options of a quoted packet may be truncated; they are skipped.
    let mut padded = [0; 60];
    let there = rest.len().min(padded.len());
    padded[..there].copy_from_slice(&rest[..there]);
    if there < 20 {
        return Err(Refusal::Malformed);
    }
    let header = Ipv4HeaderSlice::from_slice(&padded).map_err(|_| Refusal::Malformed)?;
    let total = usize::from(header.total_len());
    let length = header.slice().len();
    let whole = extent == Extent::Whole;
    if total < length || whole && l3 + total > limit {
        return Err(Refusal::Malformed);
    }
    let at = u32::from(header.fragments_offset().value()) * 8;
    let fragment = Fragment {
        id: header.identification().into(),
        id_at: l3 + 4,
        start: l3 + length,
        at,
        is_last: !header.more_fragments(),
    };
    let mut reading = Reading {
        v4: true,
        source: header.source().to_vec(),
        destination: header.destination().to_vec(),
        ports: (0, 0),
        protocol: header.protocol().0,
        ttl: header.ttl(),
        tos: header.dcp().value() << 2 | header.ecn().value(),
        l3,
        l4: l3 + length,
        fragment: header.is_fragmenting_payload().then_some(fragment),
        end: if whole { l3 + total } else { limit },
        content: Content::Later,
    };
    if at == 0 {
        read_transport(frame, &mut reading, extent)?;
    }
    Ok(reading)
}

fn read_v6(frame: &[u8], l3: usize, limit: usize, extent: Extent) -> Result<Reading, Refusal> {
    let packet = frame.get(l3..).unwrap_or_default();
    let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| Refusal::Malformed)?;
    let mapped = |address: std::net::Ipv6Addr| address.to_ipv4_mapped().is_some();
    if mapped(header.source_addr()) || mapped(header.destination_addr()) {
        return Err(Refusal::Martian);
    }
    let content = l3 + header.header_len();
    let end = match (extent, usize::from(header.payload_length())) {
        (Extent::Quoted, _) => limit,
        // A GSO packet that is longer than the field's maximum has a length of zero.
        (_, 0) if frame.len() > content + usize::from(u16::MAX) => limit,
        (_, length) if content + length > limit => return Err(Refusal::Malformed),
        (_, length) => content + length,
    };
    let mut reading = Reading {
        v4: false,
        source: header.source().to_vec(),
        destination: header.destination().to_vec(),
        ports: (0, 0),
        protocol: header.next_header().0,
        ttl: header.hop_limit(),
        tos: header.traffic_class(),
        l3,
        l4: content,
        fragment: None,
        end,
        content: Content::Later,
    };
    let mut count = 0;
    // `Ipv6RawExtHeaderSlice::header_type_supported` is not used: it also accepts mobility headers.
    loop {
        let rest = frame.get(reading.l4..).unwrap_or_default();
        match IpNumber(reading.protocol) {
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS => step_over(rest, &mut reading)?,
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                let fragment =
                    Ipv6FragmentHeaderSlice::from_slice(rest).map_err(|_| Refusal::Malformed)?;
                let at = u32::from(fragment.fragment_offset().value()) * 8;
                if fragment.is_fragmenting_payload() {
                    reading.fragment = Some(Fragment {
                        id: fragment.identification(),
                        id_at: reading.l4 + 4,
                        start: reading.l4 + 8,
                        at,
                        is_last: !fragment.more_fragments(),
                    });
                }
                reading.protocol = fragment.next_header().0;
                reading.l4 += 8;
                if at != 0 {
                    return Ok(reading);
                }
            }
            _ => break,
        }
        count += 1;
        if count > MOST_EXTENSIONS || reading.l4 > LATEST_TRANSPORT {
            return Err(Refusal::Chain);
        }
    }
    read_transport(frame, &mut reading, extent)?;
    Ok(reading)
}

fn step_over(rest: &[u8], reading: &mut Reading) -> Result<(), Refusal> {
    let (next, length) = match Ipv6RawExtHeaderSlice::from_slice(rest) {
        Ok(extension) => (extension.next_header().0, extension.slice().len()),
        // The first two bytes give the end of the header, even if the frame is truncated within the header. Then nothing
        // after it can be read.
        Err(_) => {
            let [next, units, ..] = *rest else {
                return Err(Refusal::Malformed);
            };
            (next, (usize::from(units) + 1) * 8)
        }
    };
    reading.protocol = next;
    reading.l4 += length;
    Ok(())
}

fn read_transport(frame: &[u8], reading: &mut Reading, extent: Extent) -> Result<(), Refusal> {
    let quoted = extent == Extent::Quoted;
    let least = match IpNumber(reading.protocol) {
        IpNumber::TCP if !quoted => 20,
        IpNumber::TCP | IpNumber::UDP | IpNumber::ICMP | IpNumber::IPV6_ICMP => 8,
        _ => 0,
    };
    if reading.l4 + least > reading.end {
        return Err(Refusal::Malformed);
    }
    let rest = frame.get(reading.l4..).unwrap_or_default();
    reading.content = match IpNumber(reading.protocol) {
        IpNumber::TCP if quoted => {
            let header = UdpHeaderSlice::from_slice(rest).map_err(|_| Refusal::Malformed)?;
            // Ports have the same offsets as in UDP.
            reading.ports = (header.source_port(), header.destination_port());
            Content::Tcp(0)
        }
        IpNumber::TCP => {
            let mut header = *rest.first_chunk::<20>().ok_or(Refusal::Malformed)?;
            // The receiver checks the length of the options; all other fields have fixed offsets.
            header[12] = 5 << 4 | header[12] & 0x0f;
            let header = TcpHeaderSlice::from_slice(&header).map_err(|_| Refusal::Malformed)?;
            reading.ports = (header.source_port(), header.destination_port());
            let flags = [
                header.fin(),
                header.syn(),
                header.rst(),
                header.psh(),
                header.ack(),
                header.urg(),
                header.ece(),
                header.cwr(),
            ];
            let bits = flags
                .iter()
                .zip(0..)
                .map(|(set, bit)| u8::from(*set) << bit);
            Content::Tcp(bits.sum())
        }
        IpNumber::UDP => {
            let header = UdpHeaderSlice::from_slice(rest).map_err(|_| Refusal::Malformed)?;
            reading.ports = (header.source_port(), header.destination_port());
            Content::Udp
        }
        IpNumber::ICMP if reading.v4 => read_icmp(rest, reading, 8, 0)?,
        IpNumber::IPV6_ICMP if !reading.v4 => read_icmp(rest, reading, 128, 129)?,
        _ => Content::Other,
    };
    Ok(())
}

fn read_icmp(
    rest: &[u8],
    reading: &mut Reading,
    request: u8,
    reply: u8,
) -> Result<Content, Refusal> {
    let [kind, _, _, _, high, low, _, _] = *rest.first_chunk::<8>().ok_or(Refusal::Malformed)?;
    let identifier = u16::from_be_bytes([high, low]);
    Ok(match kind {
        _ if kind == request => {
            reading.ports.0 = identifier;
            Content::Echo(kind)
        }
        _ if kind == reply => {
            reading.ports.1 = identifier;
            Content::Echo(kind)
        }
        // RFC 792; RFC 4443 §2.1; RFC 4861 §4, RFC 2710 §3, RFC 3810 §5.
        3 | 4 | 5 | 11 | 12 if reading.v4 => Content::Error(kind),
        0..128 if !reading.v4 => Content::Error(kind),
        130..=137 | 143 if !reading.v4 => Content::Control(kind),
        _ => Content::Message(kind),
    })
}
