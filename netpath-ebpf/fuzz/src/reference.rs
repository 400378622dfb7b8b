//! The second opinion: what a packet is according to etherparse, and checksums over all bytes.

use etherparse::{
    EtherType, Ethernet2HeaderSlice, IpNumber, Ipv4HeaderSlice, Ipv6FragmentHeaderSlice,
    Ipv6HeaderSlice, Ipv6RawExtHeaderSlice, TcpHeaderSlice, UdpHeaderSlice,
};

/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Extension headers that are followed at most, and where the transport header must begin at the latest.
const MOST_EXTENSIONS: usize = 5;
const LATEST_TRANSPORT: usize = 512;

/// What stands behind the network header.
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
    /// Something else.
    Other,
}

/// A packet as it should be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// IPv4 rather than IPv6.
    pub v4: bool,
    /// Source address, in network order.
    pub source: Vec<u8>,
    /// Destination address.
    pub destination: Vec<u8>,
    /// Ports, or the identifier at the place of the side that asks.
    pub ports: (u16, u16),
    /// Number of the transport protocol.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class.
    pub tos: u8,
    /// Where the transport begins, from the Ethernet header on.
    pub l4: usize,
    /// Where the packet ends: a frame may be padded.
    pub end: usize,
    /// What it carries.
    pub content: Content,
}

/// Why a frame is no packet that could be translated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not IP.
    Foreign,
    /// Too short, or it contradicts itself.
    Malformed,
    /// A longer chain of headers than is followed.
    Chain,
}

/// Reads a frame.
pub fn read(frame: &[u8]) -> Result<Reading, Refusal> {
    let ethernet = Ethernet2HeaderSlice::from_slice(frame).map_err(|_| Refusal::Malformed)?;
    let packet = frame.get(ETHERNET..).ok_or(Refusal::Malformed)?;
    match ethernet.ether_type() {
        EtherType::IPV4 => read_v4(frame, packet),
        EtherType::IPV6 => read_v6(frame, packet),
        _ => Err(Refusal::Foreign),
    }
}

fn read_v4(frame: &[u8], packet: &[u8]) -> Result<Reading, Refusal> {
    let header = Ipv4HeaderSlice::from_slice(packet).map_err(|_| Refusal::Malformed)?;
    let total = usize::from(header.total_len());
    let length = header.slice().len();
    if total < length || total > packet.len() {
        return Err(Refusal::Malformed);
    }
    let mut reading = Reading {
        v4: true,
        source: header.source().to_vec(),
        destination: header.destination().to_vec(),
        ports: (0, 0),
        protocol: header.protocol().0,
        ttl: header.ttl(),
        tos: header.dcp().value() << 2 | header.ecn().value(),
        l4: ETHERNET + length,
        end: ETHERNET + total,
        content: Content::Later,
    };
    if header.fragments_offset().value() == 0 {
        read_transport(frame, &mut reading)?;
    }
    Ok(reading)
}

fn read_v6(frame: &[u8], packet: &[u8]) -> Result<Reading, Refusal> {
    let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| Refusal::Malformed)?;
    let rest = packet.get(header.header_len()..).unwrap_or_default();
    // Zero stands for a length that the field cannot say, which packets of segmentation offload have.
    let payload = match usize::from(header.payload_length()) {
        0 => rest.len(),
        length if length > rest.len() => return Err(Refusal::Malformed),
        length => length,
    };
    let mut reading = Reading {
        v4: false,
        source: header.source().to_vec(),
        destination: header.destination().to_vec(),
        ports: (0, 0),
        protocol: header.next_header().0,
        ttl: header.hop_limit(),
        tos: header.traffic_class(),
        l4: ETHERNET + header.header_len(),
        end: ETHERNET + header.header_len() + payload,
        content: Content::Later,
    };
    let mut count = 0;
    loop {
        // Not `Ipv6RawExtHeaderSlice::header_type_supported`: that follows headers of mobility too.
        let rest = frame.get(reading.l4..).unwrap_or_default();
        match IpNumber(reading.protocol) {
            IpNumber::IPV6_HEADER_HOP_BY_HOP
            | IpNumber::IPV6_ROUTE_HEADER
            | IpNumber::IPV6_DESTINATION_OPTIONS => {
                let (next, length) = match Ipv6RawExtHeaderSlice::from_slice(rest) {
                    Ok(extension) => (extension.next_header().0, extension.slice().len()),
                    // Where it ends is known from its first two bytes, even if the frame ends before: then nothing
                    // behind it can be read.
                    Err(_) => {
                        let [next, units, ..] = *rest else {
                            return Err(Refusal::Malformed);
                        };
                        (next, (usize::from(units) + 1) * 8)
                    }
                };
                reading.protocol = next;
                reading.l4 += length;
            }
            IpNumber::IPV6_FRAGMENTATION_HEADER => {
                // As above: its last half is not needed.
                let mut whole = [0; 8];
                let there = rest.len().min(8);
                if there < 4 {
                    return Err(Refusal::Malformed);
                }
                whole[..there].copy_from_slice(&rest[..there]);
                let fragment =
                    Ipv6FragmentHeaderSlice::from_slice(&whole).map_err(|_| Refusal::Malformed)?;
                reading.protocol = fragment.next_header().0;
                reading.l4 += 8;
                if fragment.fragment_offset().value() != 0 {
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
    read_transport(frame, &mut reading)?;
    Ok(reading)
}

fn read_transport(frame: &[u8], reading: &mut Reading) -> Result<(), Refusal> {
    // A header that reaches into the padding of the frame is read as it stands there: whoever receives the packet refuses
    // it, translated or not.
    let rest = frame.get(reading.l4..).unwrap_or_default();
    reading.content = match IpNumber(reading.protocol) {
        IpNumber::TCP => {
            let mut header = *rest.first_chunk::<20>().ok_or(Refusal::Malformed)?;
            // A wrong length of the options is the receiver's business; everything else stands where it always does.
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

/// What remains of the sum of all 16-bit words when it is divided by 65,535 (RFC 1071): zero for data that carries its
/// right checksum, and the amount by which it is wrong otherwise.
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
    residue([&frame[ETHERNET..reading.l4]])
}

/// Residue of the transport, its whole header at least, with its pseudo-header (RFC 9293 §3.1, RFC 768, RFC 8200 §8.1); ICMPv4 has none.
pub fn transport_residue(frame: &[u8], reading: &Reading) -> u32 {
    let least = if IpNumber(reading.protocol) == IpNumber::TCP {
        20
    } else {
        8
    };
    let end = reading.end.max(reading.l4 + least).min(frame.len());
    let body = &frame[reading.l4..end];
    let length = (body.len() as u32).to_be_bytes();
    let addresses = ETHERNET + if reading.v4 { 12 } else { 8 };
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

/// Where the transport checksum stands.
pub fn checksum_at(reading: &Reading) -> usize {
    reading.l4
        + match reading.content {
            Content::Tcp(_) => 16,
            Content::Udp => 6,
            _ => 2,
        }
}

/// Makes both checksums right, except that a UDP datagram without one stays without.
pub fn complete(frame: &mut [u8], reading: &Reading) {
    if reading.v4 {
        put(frame, ETHERNET + 10, network_residue(frame, reading));
    }
    let at = checksum_at(reading);
    let absent = reading.content == Content::Udp && frame[at..at + 2] == [0, 0];
    let has_one = !matches!(reading.content, Content::Later | Content::Other);
    if has_one && !absent {
        put(frame, at, transport_residue(frame, reading));
    }
}

/// Takes what remains from a checksum. Zero becomes all ones, its other form, as UDP asks for.
fn put(frame: &mut [u8], at: usize, remains: u32) {
    let old = u32::from(u16::from_be_bytes([frame[at], frame[at + 1]]));
    let new = match (old % 0xffff + 0xffff - remains) % 0xffff {
        0 => 0xffff,
        new => new as u16,
    };
    frame[at..at + 2].copy_from_slice(&new.to_be_bytes());
}
