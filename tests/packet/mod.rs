//! Packets as values, with a builder and a decoder.
//!
//! The expected packet is best derived from the packet that was sent. Its checksums are computed from scratch over the
//! expected bytes, which checks every incremental update of the programs independently. An error in a checksum is part
//! of the value: a wrong checksum must stay wrong by the same amount.

mod build;
mod decode;
mod decoded;
pub mod fragments;
mod pcap;
mod tunnel;

use std::net::IpAddr;

pub use decode::decode;
pub use decoded::{Decoded, Value, difference, number};
pub use pcap::write_pcap;
pub use tunnel::FIRST_TUNNEL_PORT;

/// TCP flag FIN.
pub const FIN: u8 = 0x01;
/// TCP flag SYN.
pub const SYN: u8 = 0x02;
/// TCP flag RST.
pub const RST: u8 = 0x04;
/// TCP flag ACK.
pub const ACK: u8 = 0x10;

/// A packet. Defaults: TTL 64, 16 bytes of payload, correct checksums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    eth: [[u8; 6]; 2],
    vlan: Option<u16>,
    network: Network,
    transport: Transport,
    payload: Vec<u8>,
    checksum: Checksum,
    header_error: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Network {
    /// Any ethertype; the payload follows.
    Other(u16),
    Ip(Ip),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Ip {
    src: IpAddr,
    dst: IpAddr,
    ttl: u8,
    tos: u8,
    id: u32,
    /// Offset in units of eight bytes, and the flag MF.
    fragment: Option<(u16, bool)>,
    dont_fragment: bool,
    options: Vec<u8>,
    extensions: Vec<(u8, Vec<u8>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Transport {
    /// Any protocol number; the payload follows.
    Other(u8),
    Tcp {
        ports: [u16; 2],
        seq: u32,
        ack: u32,
        flags: u8,
        window: u16,
        urgent: u16,
        options: Vec<u8>,
    },
    Udp {
        ports: [u16; 2],
    },
    Icmp {
        kind: u8,
        code: u8,
        rest: [u8; 4],
    },
}

/// The transport checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// The correct checksum.
    Correct,
    /// Zero: UDP over IPv4 without one.
    Absent,
    /// Different from the correct checksum by this much, in ones' complement.
    WrongBy(u16),
}

/// All permutations of three indices.
pub const ORDERS: [[usize; 3]; 6] = [
    [0, 1, 2],
    [0, 2, 1],
    [1, 0, 2],
    [1, 2, 0],
    [2, 0, 1],
    [2, 1, 0],
];

impl Packet {
    /// An IP packet between two addresses of one family.
    pub fn ip(src: IpAddr, dst: IpAddr) -> Self {
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "one family");
        Self::with(Network::Ip(Ip {
            src,
            dst,
            ttl: 64,
            tos: 0,
            id: 0x1234,
            fragment: None,
            dont_fragment: false,
            options: Vec::new(),
            extensions: Vec::new(),
        }))
    }

    /// A frame of any ethertype.
    pub fn ethertype(ethertype: u16, body: &[u8]) -> Self {
        Self::with(Network::Other(ethertype)).payload(body)
    }

    /// An ARP message: operation, and MAC and IP address of sender and target.
    pub fn arp(operation: u16, sender: ([u8; 6], IpAddr), target: ([u8; 6], IpAddr)) -> Self {
        let mut body = vec![0, 1, 8, 0, 6, 4];
        body.extend(operation.to_be_bytes());
        for (mac, ip) in [sender, target] {
            body.extend(mac);
            body.extend(build::octets(ip));
        }
        Self::ethertype(0x0806, &body)
    }

    fn with(network: Network) -> Self {
        Self {
            eth: [[0; 6]; 2],
            vlan: None,
            network,
            transport: Transport::Other(253),
            payload: (0..16).collect(),
            checksum: Checksum::Correct,
            header_error: 0,
        }
    }

    /// MAC addresses.
    pub fn eth(mut self, source: [u8; 6], destination: [u8; 6]) -> Self {
        self.eth = [destination, source];
        self
    }

    /// Destination MAC address.
    pub fn eth_destination(mut self, destination: [u8; 6]) -> Self {
        self.eth[0] = destination;
        self
    }

    /// A VLAN tag in the packet itself.
    pub fn vlan(mut self, id: u16) -> Self {
        self.vlan = Some(id);
        self
    }

    /// Source address.
    pub fn source(self, src: IpAddr) -> Self {
        self.change(|ip| ip.src = src)
    }

    /// Destination address.
    pub fn destination(self, dst: IpAddr) -> Self {
        self.change(|ip| ip.dst = dst)
    }

    /// TTL or hop limit.
    pub fn ttl(self, ttl: u8) -> Self {
        self.change(|ip| ip.ttl = ttl)
    }

    /// The TTL or hop limit one lower, as a router sends it.
    pub fn routed(self) -> Self {
        self.change(|ip| ip.ttl -= 1)
    }

    /// Type of service or traffic class.
    pub fn tos(self, tos: u8) -> Self {
        self.change(|ip| ip.tos = tos)
    }

    /// Identification, of IPv4 or of an IPv6 fragment.
    pub fn id(self, id: u16) -> Self {
        self.fragment_id(u32::from(id))
    }

    /// The identification; IPv4 uses its lower 16 bits.
    pub fn fragment_id(self, id: u32) -> Self {
        self.change(|ip| ip.id = id)
    }

    /// A fragment: its offset in units of eight bytes, and the flag MF. Only offset 0 has a transport header.
    pub fn fragment(self, offset: u16, more: bool) -> Self {
        self.change(|ip| ip.fragment = Some((offset, more)))
    }

    /// Sets the IPv4 flag DF.
    pub fn dont_fragment(self) -> Self {
        self.change(|ip| ip.dont_fragment = true)
    }

    /// IPv4 options, padded with zeros to a multiple of four bytes.
    pub fn options(self, options: &[u8]) -> Self {
        self.change(|ip| ip.options = options.to_vec())
    }

    /// Adds an IPv6 extension header: its number and the bytes after its length field, padded to a multiple of eight.
    pub fn extension(self, number: u8, body: &[u8]) -> Self {
        self.change(|ip| ip.extensions.push((number, body.to_vec())))
    }

    /// TCP ports and flags.
    pub fn tcp(mut self, sport: u16, dport: u16, flags: u8) -> Self {
        self.transport = Transport::Tcp {
            ports: [sport, dport],
            seq: 0x0102_0304,
            ack: 0,
            flags,
            window: 0xffff,
            urgent: 0,
            options: Vec::new(),
        };
        self
    }

    /// UDP ports.
    pub fn udp(mut self, sport: u16, dport: u16) -> Self {
        self.transport = Transport::Udp {
            ports: [sport, dport],
        };
        self
    }

    /// An echo request.
    pub fn echo_request(self, id: u16) -> Self {
        let kind = if self.is_v4() { 8 } else { 128 };
        self.echo(kind, id)
    }

    /// An echo reply.
    pub fn echo_reply(self, id: u16) -> Self {
        let kind = if self.is_v4() { 0 } else { 129 };
        self.echo(kind, id)
    }

    /// Any ICMP or ICMPv6 message: type, code and the four bytes after the checksum.
    pub fn icmp(mut self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        self.transport = Transport::Icmp { kind, code, rest };
        self
    }

    /// Another transport protocol; its header is the payload.
    pub fn protocol(mut self, number: u8) -> Self {
        self.transport = Transport::Other(number);
        self
    }

    /// Source port or echo identifier.
    pub fn sport(mut self, port: u16) -> Self {
        match &mut self.transport {
            Transport::Tcp { ports, .. } | Transport::Udp { ports } => ports[0] = port,
            Transport::Icmp { rest, .. } => rest[..2].copy_from_slice(&port.to_be_bytes()),
            Transport::Other(_) => panic!("no ports"),
        }
        self
    }

    /// Destination port.
    pub fn dport(mut self, port: u16) -> Self {
        match &mut self.transport {
            Transport::Tcp { ports, .. } | Transport::Udp { ports } => ports[1] = port,
            _ => panic!("no ports"),
        }
        self
    }

    /// TCP flags.
    pub fn flags(mut self, new: u8) -> Self {
        match &mut self.transport {
            Transport::Tcp { flags, .. } => *flags = new,
            _ => panic!("no TCP"),
        }
        self
    }

    /// TCP sequence and acknowledgement numbers.
    pub fn numbers(mut self, sequence: u32, acknowledgement: u32) -> Self {
        match &mut self.transport {
            Transport::Tcp { seq, ack, .. } => (*seq, *ack) = (sequence, acknowledgement),
            _ => panic!("no TCP"),
        }
        self
    }

    /// TCP window and urgent pointer.
    pub fn window(mut self, size: u16, pointer: u16) -> Self {
        match &mut self.transport {
            Transport::Tcp { window, urgent, .. } => (*window, *urgent) = (size, pointer),
            _ => panic!("no TCP"),
        }
        self
    }

    /// TCP options, padded to a multiple of four bytes.
    pub fn tcp_options(mut self, new: &[u8]) -> Self {
        match &mut self.transport {
            Transport::Tcp { options, .. } => *options = new.to_vec(),
            _ => panic!("no TCP"),
        }
        self
    }

    /// The bytes after the transport header.
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// The transport checksum.
    pub fn checksum(mut self, checksum: Checksum) -> Self {
        self.checksum = checksum;
        self
    }

    /// An IPv4 header checksum that differs from the correct one by this much.
    pub fn header_error(mut self, error: u16) -> Self {
        self.header_error = error;
        self
    }

    /// The reply: MAC addresses, IP addresses and ports exchanged.
    pub fn reversed(mut self) -> Self {
        self.eth.reverse();
        if let Transport::Tcp { ports, .. } | Transport::Udp { ports } = &mut self.transport {
            ports.reverse();
        }
        if let Transport::Icmp { kind, .. } = &mut self.transport {
            *kind = match *kind {
                8 => 0,
                128 => 129,
                other => other,
            };
        }
        self.change(|ip| std::mem::swap(&mut ip.src, &mut ip.dst))
    }

    /// Whether it is IPv4.
    pub fn is_v4(&self) -> bool {
        matches!(&self.network, Network::Ip(ip) if ip.src.is_ipv4())
    }

    fn echo(self, kind: u8, id: u16) -> Self {
        let [a, b] = id.to_be_bytes();
        self.icmp(kind, 0, [a, b, 0, 1])
    }

    fn change(mut self, change: impl FnOnce(&mut Ip)) -> Self {
        match &mut self.network {
            Network::Ip(ip) => change(ip),
            Network::Other(_) => panic!("no IP"),
        }
        self
    }
}
