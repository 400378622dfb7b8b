//! From [`Packet`] to bytes.

use std::net::IpAddr;

use netpath_common::checksum::{checksum, fold, sum};

use super::{Checksum, Ip, Network, Packet, Transport};

const TCP: u8 = 6;
const UDP: u8 = 17;
const FRAGMENT: u8 = 44;

impl Packet {
    /// The bytes, from the Ethernet header on.
    pub fn build(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = self.eth.concat();
        if let Some(id) = self.vlan {
            bytes.extend([0x81, 0]);
            bytes.extend(id.to_be_bytes());
        }
        match &self.network {
            Network::Other(ethertype) => {
                bytes.extend(ethertype.to_be_bytes());
                bytes.extend(&self.payload);
            }
            Network::Ip(ip) if ip.src.is_ipv4() => {
                bytes.extend([0x08, 0x00]);
                bytes.extend(self.v4(ip));
            }
            Network::Ip(ip) => {
                bytes.extend([0x86, 0xdd]);
                bytes.extend(self.v6(ip));
            }
        }
        bytes
    }

    fn v4(&self, ip: &Ip) -> Vec<u8> {
        let body = self.body(ip);
        let mut options = ip.options.clone();
        options.resize(options.len().next_multiple_of(4), 0);
        let words = 5 + options.len() / 4;
        let (offset, more) = ip.fragment.unwrap_or((0, false));
        let mut header = vec![0x40 | words as u8, ip.tos];
        header.extend(((words * 4 + body.len()) as u16).to_be_bytes());
        header.extend((ip.id as u16).to_be_bytes());
        let flags = u16::from(ip.dont_fragment) << 14 | u16::from(more) << 13;
        header.extend((offset | flags).to_be_bytes());
        header.extend([ip.ttl, self.number(ip), 0, 0]);
        header.extend(octets(ip.src));
        header.extend(octets(ip.dst));
        header.extend(options);
        let correct = checksum(&header);
        header[10..12].copy_from_slice(&off_by(correct, self.header_error).to_ne_bytes());
        header.extend(body);
        header
    }

    fn v6(&self, ip: &Ip) -> Vec<u8> {
        let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
        for (number, body) in &ip.extensions {
            let mut bytes = vec![0, 0];
            bytes.extend(body);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes[1] = (bytes.len() / 8 - 1) as u8;
            chain.push((*number, bytes));
        }
        if let Some((offset, more)) = ip.fragment {
            let mut bytes = vec![0, 0];
            bytes.extend((offset << 3 | u16::from(more)).to_be_bytes());
            bytes.extend(ip.id.to_be_bytes());
            chain.push((FRAGMENT, bytes));
        }
        let mut next = self.number(ip);
        for (number, bytes) in chain.iter_mut().rev() {
            bytes[0] = next;
            next = *number;
        }
        let mut content: Vec<u8> = chain.into_iter().flat_map(|(_, bytes)| bytes).collect();
        content.extend(self.body(ip));
        let mut header = vec![0x60 | ip.tos >> 4, ip.tos << 4, 0, 0];
        header.extend((content.len() as u16).to_be_bytes());
        header.extend([next, ip.ttl]);
        header.extend(octets(ip.src));
        header.extend(octets(ip.dst));
        header.extend(content);
        header
    }

    fn number(&self, ip: &Ip) -> u8 {
        match &self.transport {
            Transport::Other(number) => *number,
            Transport::Tcp { .. } => TCP,
            Transport::Udp { .. } => UDP,
            Transport::Icmp { .. } if ip.src.is_ipv4() => 1,
            Transport::Icmp { .. } => 58,
        }
    }

    /// Transport header and payload.
    fn body(&self, ip: &Ip) -> Vec<u8> {
        if ip.fragment.is_some_and(|(offset, _)| offset != 0) {
            return self.payload.clone();
        }
        let (mut bytes, place) = match &self.transport {
            Transport::Other(_) => return self.payload.clone(),
            Transport::Tcp {
                ports: [sport, dport],
                seq,
                ack,
                flags,
                window,
                urgent,
                options,
            } => {
                let mut options = options.clone();
                options.resize(options.len().next_multiple_of(4), 0);
                let mut header = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
                header.extend(seq.to_be_bytes());
                header.extend(ack.to_be_bytes());
                header.extend([((5 + options.len() / 4) << 4) as u8, *flags]);
                header.extend(window.to_be_bytes());
                header.extend([0, 0]);
                header.extend(urgent.to_be_bytes());
                header.extend(options);
                (header, 16)
            }
            Transport::Udp {
                ports: [sport, dport],
            } => {
                let length = (8 + self.payload.len()) as u16;
                let words = [sport, dport, &length, &0];
                (words.map(|word| word.to_be_bytes()).concat(), 6)
            }
            Transport::Icmp { kind, code, rest } => {
                let mut header = vec![*kind, *code, 0, 0];
                header.extend(rest);
                (header, 2)
            }
        };
        bytes.extend(&self.payload);
        let field = self.transport_checksum(ip, &bytes);
        bytes[place..place + 2].copy_from_slice(&field.to_ne_bytes());
        bytes
    }

    /// RFC 9293 §3.1, RFC 768, RFC 792, RFC 4443 §2.3.
    fn transport_checksum(&self, ip: &Ip, bytes: &[u8]) -> u16 {
        let correct = correct_checksum(ip.src, ip.dst, self.number(ip), bytes);
        let udp = matches!(self.transport, Transport::Udp { .. });
        match self.checksum {
            Checksum::Absent => 0,
            Checksum::Correct if udp && correct == 0 => 0xffff,
            Checksum::Correct => correct,
            Checksum::WrongBy(error) => off_by(correct, error),
        }
    }
}

/// The checksum of a transport header with a zero checksum field and its payload, as the word to store.
pub(super) fn correct_checksum(src: IpAddr, dst: IpAddr, protocol: u8, bytes: &[u8]) -> u16 {
    let mut total = sum(bytes);
    if protocol != 1 {
        total += sum(&octets(src)) + sum(&octets(dst));
        total += sum(&(bytes.len() as u32).to_be_bytes()) + sum(&[0, protocol]);
    }
    !fold(total)
}

/// A checksum field that differs from the correct one by `error`, a ones'-complement sum.
fn off_by(correct: u16, error: u16) -> u16 {
    !fold(u64::from(!correct) + u64::from(error.to_be()))
}

pub(super) fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}
