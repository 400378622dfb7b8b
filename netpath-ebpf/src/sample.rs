//! Packets for the tests of this crate, with checksums computed from scratch.

use netpath_common::{
    addr::{Addr, Family},
    checksum::{fold, sum},
    flow::{FlowKey, ICMP, ICMPV6, TCP, UDP},
};
use proptest::{collection::vec, prelude::*};

use crate::parse::ETHERNET;

/// What follows the network header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A TCP segment with these flags.
    Tcp(u8),
    /// A UDP datagram.
    Udp,
    /// An echo request.
    Request,
    /// An echo reply.
    Reply,
}

/// A valid packet.
#[derive(Clone, Debug)]
pub struct Sample {
    /// Source, IPv4 in v4-mapped form.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Source port, or the identifier.
    pub sport: u16,
    /// Destination port.
    pub dport: u16,
    /// Transport.
    pub kind: Kind,
    /// TTL or hop limit.
    pub ttl: u8,
    /// IPv4 options, in 32-bit words.
    pub options: Vec<u32>,
    /// IPv6 extension headers: number and body, which is six bytes more than a multiple of eight.
    pub extensions: Vec<(u8, Vec<u8>)>,
    /// The payload.
    pub payload: Vec<u8>,
    /// Ones'-complement difference from the correct transport checksum; `None` for a UDP datagram without a checksum.
    pub error: Option<u16>,
}

impl Sample {
    /// Whether it is IPv4.
    pub fn is_v4(&self) -> bool {
        self.src.is_v4()
    }

    /// Its address family.
    pub fn family(&self) -> Family {
        self.src.family()
    }

    /// Number of the transport protocol.
    pub fn protocol(&self) -> u8 {
        match self.kind {
            Kind::Tcp(_) => TCP,
            Kind::Udp => UDP,
            Kind::Request | Kind::Reply if self.is_v4() => ICMP,
            Kind::Request | Kind::Reply => ICMPV6,
        }
    }

    /// Offset of the transport header.
    pub fn l4(&self) -> usize {
        if self.is_v4() {
            return ETHERNET + 20 + self.options.len() * 4;
        }
        let extensions = self.extensions.iter().map(|(_, body)| body.len() + 2);
        ETHERNET + 40 + extensions.sum::<usize>()
    }

    /// Its tuple.
    pub fn key(&self) -> FlowKey {
        use netpath_common::addr::Be16;
        let (sport, dport) = match self.kind {
            Kind::Request => (self.sport, 0),
            Kind::Reply => (0, self.sport),
            _ => (self.sport, self.dport),
        };
        FlowKey {
            src: self.src,
            dst: self.dst,
            sport: Be16::new(sport),
            dport: Be16::new(dport),
            protocol: self.protocol(),
            pad: 0,
            pad2: 0,
        }
    }

    /// This packet with another tuple of the same protocol.
    pub fn with(&self, key: &FlowKey) -> Self {
        let mut other = self.clone();
        (other.src, other.dst) = (key.src, key.dst);
        (other.sport, other.dport) = match self.kind {
            Kind::Request => (key.sport.get(), 0),
            Kind::Reply => (key.dport.get(), 0),
            _ => (key.sport.get(), key.dport.get()),
        };
        other
    }

    /// Its bytes.
    pub fn build(&self) -> Vec<u8> {
        let transport = self.transport();
        let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
        if self.is_v4() {
            let words = 5 + self.options.len();
            let total = (words * 4 + transport.len()) as u16;
            let mut header = vec![0x40 | words as u8, 0];
            header.extend(total.to_be_bytes());
            header.extend([0, 1, 0, 0, self.ttl, self.protocol(), 0, 0]);
            header.extend(&self.src.octets()[12..]);
            header.extend(&self.dst.octets()[12..]);
            header.extend(self.options.iter().flat_map(|word| word.to_be_bytes()));
            let checksum = !fold(sum(&header));
            header[10..12].copy_from_slice(&checksum.to_ne_bytes());
            bytes.extend([0x08, 0x00]);
            bytes.extend(header);
        } else {
            let mut next = self.protocol();
            let mut content = Vec::new();
            for (number, body) in self.extensions.iter().rev() {
                let mut header = vec![next, ((body.len() + 2) / 8 - 1) as u8];
                header.extend(body);
                content.splice(..0, header);
                next = *number;
            }
            content.extend(&transport);
            bytes.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            bytes.extend((content.len() as u16).to_be_bytes());
            bytes.extend([next, self.ttl]);
            bytes.extend(self.src.octets());
            bytes.extend(self.dst.octets());
            bytes.extend(content);
            return bytes;
        }
        bytes.extend(transport);
        bytes
    }

    fn transport(&self) -> Vec<u8> {
        let ports = [self.sport.to_be_bytes(), self.dport.to_be_bytes()].concat();
        let (mut bytes, place) = match self.kind {
            Kind::Tcp(flags) => {
                let mut header = ports;
                header.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, flags, 9, 9, 0, 0, 0, 0]);
                (header, 16)
            }
            Kind::Udp => {
                let mut header = ports;
                header.extend((8 + self.payload.len() as u16).to_be_bytes());
                header.extend([0, 0]);
                (header, 6)
            }
            Kind::Request | Kind::Reply => {
                let kind = match (self.kind, self.is_v4()) {
                    (Kind::Request, true) => 8,
                    (Kind::Request, false) => 128,
                    (_, true) => 0,
                    (_, false) => 129,
                };
                let mut header = vec![kind, 0, 0, 0];
                header.extend(self.sport.to_be_bytes());
                header.extend([0, 1]);
                (header, 2)
            }
        };
        bytes.extend(&self.payload);
        let mut total = sum(&bytes);
        if self.protocol() != ICMP {
            // The prefix of a v4-mapped address adds ffff, which is zero in ones' complement.
            total += sum(&self.src.octets()) + sum(&self.dst.octets());
            total += sum(&(bytes.len() as u32).to_be_bytes()) + sum(&[0, self.protocol()]);
        }
        let field = match self.error {
            None => 0,
            Some(error) => match !fold(total + u64::from(error)) {
                0 if self.kind == Kind::Udp => 0xffff,
                checksum => checksum,
            },
        };
        bytes[place..place + 2].copy_from_slice(&field.to_ne_bytes());
        bytes
    }
}

/// Any address of a family.
pub fn addr(v4: bool) -> BoxedStrategy<Addr> {
    if v4 {
        any::<u32>().prop_map(Addr::from_raw_v4).boxed()
    } else {
        let is_v6 = |octets: &[u8; 16]| !Addr::from_octets(*octets).is_v4();
        any::<[u8; 16]>()
            .prop_filter("a v4-mapped address", is_v6)
            .prop_map(Addr::from_octets)
            .boxed()
    }
}

fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let number = prop_oneof![Just(0_u8), Just(43), Just(60)];
    let body = (0..3_usize, any::<u8>()).prop_map(|(more, byte)| vec![byte; 6 + more * 8]);
    (number, body)
}

/// Any valid packet.
pub fn sample() -> impl Strategy<Value = Sample> {
    any::<bool>().prop_flat_map(sample_of)
}

/// Any valid packet of a family.
pub fn sample_of(v4: bool) -> impl Strategy<Value = Sample> {
    let kind = prop_oneof![
        any::<u8>().prop_map(Kind::Tcp),
        Just(Kind::Udp),
        Just(Kind::Request),
        Just(Kind::Reply)
    ];
    let ends = (addr(v4), addr(v4));
    let error =
        prop_oneof![6 => Just(Some(0)), 2 => (1..0xffff_u16).prop_map(Some), 1 => Just(None)];
    (
        (ends, any::<u16>(), any::<u16>(), kind, 2_u8.., error),
        vec(any::<u32>(), 0..=10),
        vec(extension(), 0..=5),
        vec(any::<u8>(), 0..64),
    )
        .prop_map(|(head, options, extensions, payload)| {
            let ((src, dst), sport, dport, kind, ttl, error) = head;
            Sample {
                src,
                dst,
                sport,
                dport,
                kind,
                ttl,
                options,
                extensions,
                payload,
                // Only a UDP datagram may have no checksum.
                error: if kind == Kind::Udp {
                    error
                } else {
                    error.or(Some(0))
                },
            }
        })
}
