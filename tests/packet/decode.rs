//! From bytes to [`Decoded`].

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpath_common::checksum::{fold, sum};

use super::{
    build::octets,
    decoded::{Decoded, Value, number},
};

/// Decodes a packet from the Ethernet header on. A truncated packet has only the fields that are complete, and the field
/// `complete` is false.
pub fn decode(frame: &[u8]) -> Decoded {
    let mut reader = Reader {
        bytes: frame,
        at: 0,
        prefix: "",
        decoded: Decoded::default(),
    };
    let complete = reader.ethernet();
    reader.show("length", frame.len());
    reader.show("complete", complete.is_some());
    reader.decoded
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    prefix: &'static str,
    decoded: Decoded,
}

impl Reader<'_> {
    fn ethernet(&mut self) -> Option<()> {
        let destination = hex(&self.take::<6>()?);
        let source = hex(&self.take::<6>()?);
        self.show("eth.destination", destination);
        self.show("eth.source", source);
        let mut ethertype: [u8; 2] = self.take()?;
        self.show("eth.type", hex(&ethertype));
        if ethertype == [0x81, 0x00] {
            let tag = self.word()?;
            self.show("vlan", tag);
            ethertype = self.take()?;
            self.show("vlan.type", hex(&ethertype));
        }
        match ethertype {
            [0x08, 0x00] => self.v4(),
            [0x86, 0xdd] => self.v6(),
            _ => self.rest("body", self.bytes.len()),
        }
    }

    fn v4(&mut self) -> Option<()> {
        let start = self.at;
        let [vihl, tos] = self.take()?;
        let total = usize::from(self.word()?);
        let id = self.word()?;
        let fragment = self.word()?;
        let [ttl, protocol] = self.take()?;
        self.take::<2>()?;
        let source = Ipv4Addr::from(self.take()?);
        let destination = Ipv4Addr::from(self.take()?);
        self.show("ip.version", vihl >> 4);
        self.show("ip.tos", tos);
        self.show("ip.length", total);
        self.show("ip.id", format!("{id:#x}"));
        self.show("ip.fragment", format!("{fragment:#06x}"));
        self.show("ip.ttl", ttl);
        self.addresses(source.into(), destination.into(), protocol);
        let options = start + usize::from(vihl & 15) * 4;
        let header = self.bytes.get(start..options)?;
        self.show("ip.checksum", remainder(sum(header)));
        self.rest("ip.options", options)?;
        self.fragment(fragment & 0x3fff != 0);
        let end = (start + total).max(options);
        self.transport(
            source.into(),
            destination.into(),
            protocol,
            fragment & 0x1fff,
            end,
        )
    }

    fn v6(&mut self) -> Option<()> {
        let [a, b, c, d] = self.take()?;
        let length = usize::from(self.word()?);
        let [mut next, ttl] = self.take()?;
        let source = Ipv6Addr::from(self.take::<16>()?);
        let destination = Ipv6Addr::from(self.take::<16>()?);
        self.show("ip.version", a >> 4);
        self.show("ip.tos", a << 4 | b >> 4);
        self.show("ip.label", hex(&[b & 15, c, d]));
        self.show("ip.length", length);
        self.show("ip.ttl", ttl);
        let end = self.at + length;
        let mut offset = 0;
        let mut is_fragment = false;
        while matches!(next, 0 | 43 | 44 | 60) {
            let from = self.at;
            let [following, length] = self.take()?;
            let size = if next == 44 {
                8
            } else {
                (usize::from(length) + 1) * 8
            };
            let body = self.bytes.get(from..from + size)?.to_vec();
            if next == 44 {
                let field = u16::from_be_bytes([body[2], body[3]]);
                self.show("ip.fragment", format!("{field:#06x}"));
                offset = field >> 3;
                is_fragment = true;
            } else {
                self.show("ip.extension", format!("{next}:{}", hex(&body)));
            }
            next = following;
            self.at = from + size;
        }
        self.addresses(source.into(), destination.into(), next);
        self.fragment(is_fragment);
        self.transport(source.into(), destination.into(), next, offset, end)
    }

    fn addresses(&mut self, source: IpAddr, destination: IpAddr, protocol: u8) {
        self.show("ip.source", source);
        self.show("ip.destination", destination);
        self.show("ip.protocol", protocol);
        self.decoded.addresses.extend([source, destination]);
        if self.prefix.is_empty() {
            self.decoded.protocol = protocol;
        }
    }

    fn fragment(&mut self, is_fragment: bool) {
        if self.prefix.is_empty() {
            self.decoded.is_fragment = is_fragment;
        }
    }

    fn transport(
        &mut self,
        source: IpAddr,
        destination: IpAddr,
        protocol: u8,
        offset: u16,
        end: usize,
    ) -> Option<()> {
        let size = end - self.at.min(end);
        if self.prefix.is_empty() {
            self.decoded.transport_length = size;
        }
        if self.prefix.is_empty() && self.decoded.is_fragment {
            self.decoded.fragment = Some((usize::from(offset) * 8, size));
        }
        let end = end.min(self.bytes.len());
        if offset != 0 {
            return self.rest("body", end);
        }
        // Bytes after the end of the IP packet are link-layer padding.
        self.bytes = self.bytes.get(..end)?;
        let covered = self.bytes.get(self.at..)?;
        let mut total = sum(covered);
        if protocol != number::ICMP {
            total += sum(&octets(source)) + sum(&octets(destination));
            total += sum(&(size as u32).to_be_bytes()) + sum(&[0, protocol]);
        }
        match protocol {
            number::TCP => {
                self.ports(protocol, source, destination)?;
                for name in ["tcp.sequence", "tcp.acknowledgement"] {
                    let value: [u8; 4] = self.take()?;
                    self.show(name, hex(&value));
                }
                let [offset, flags] = self.take()?;
                self.show("tcp.offset", format!("{offset:#x}"));
                self.show("tcp.flags", format!("{flags:#x}"));
                if self.prefix.is_empty() {
                    self.decoded.tcp_flags = Some(flags);
                }
                let window = self.word()?;
                self.show("tcp.window", window);
                self.take::<2>()?;
                self.show("checksum", remainder(total));
                let urgent = self.word()?;
                self.show("tcp.urgent", urgent);
            }
            number::UDP => {
                self.ports(protocol, source, destination)?;
                let length = self.word()?;
                self.show("udp.length", length);
                let is_absent = self.take()? == [0, 0];
                self.show(
                    "checksum",
                    if is_absent {
                        "absent".to_owned()
                    } else {
                        remainder(total)
                    },
                );
            }
            number::ICMP | number::ICMPV6 => return self.icmp([source, destination], total, end),
            _ => {}
        }
        self.rest("payload", end)
    }

    fn ports(&mut self, protocol: u8, source: IpAddr, destination: IpAddr) -> Option<()> {
        let ports = [self.word()?, self.word()?];
        self.port(
            "source port",
            protocol,
            ([source, destination], ports[1]),
            ports[0],
        );
        self.port(
            "destination port",
            protocol,
            ([destination, source], ports[0]),
            ports[1],
        );
        self.decoded.ports.extend(ports);
        Some(())
    }

    fn icmp(&mut self, [source, destination]: [IpAddr; 2], total: u64, end: usize) -> Option<()> {
        let protocol = if source.is_ipv4() {
            number::ICMP
        } else {
            number::ICMPV6
        };
        let [kind, code] = self.take()?;
        self.show("icmp.type", kind);
        self.show("icmp.code", code);
        self.take::<2>()?;
        self.show("checksum", remainder(total));
        let outer = self.prefix.is_empty();
        if outer {
            self.decoded.icmp = Some((kind, code));
        }
        if matches!((protocol, kind), (1, 0 | 8) | (58, 128 | 129)) {
            let id = self.word()?;
            let is_request = matches!(kind, 8 | 128);
            let ends = if is_request {
                [source, destination]
            } else {
                [destination, source]
            };
            self.port("icmp.id", protocol, (ends, 0), id);
            self.decoded
                .ports
                .extend(if is_request { [id, 0] } else { [0, id] });
            let sequence = self.word()?;
            self.show("icmp.sequence", sequence);
        } else {
            let rest: [u8; 4] = self.take()?;
            self.show("icmp.rest", hex(&rest));
            if outer && self.decoded.is_icmp_error() {
                self.prefix = "quoted.";
                return if protocol == number::ICMP {
                    self.v4()
                } else {
                    self.v6()
                };
            }
        }
        self.rest("payload", end)
    }

    fn port(&mut self, name: &str, protocol: u8, around: ([IpAddr; 2], u16), port: u16) {
        let name = format!("{}{name}", self.prefix);
        self.decoded
            .fields
            .push((name, Value::Port(protocol, around, port)));
    }

    fn show(&mut self, name: &str, value: impl ToString) {
        let name = format!("{}{name}", self.prefix);
        self.decoded
            .fields
            .push((name, Value::Text(value.to_string())));
    }

    fn rest(&mut self, name: &str, end: usize) -> Option<()> {
        let bytes = self.bytes.get(self.at..end)?;
        self.show(name, hex(bytes));
        self.at = end;
        Some(())
    }

    fn word(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..self.at + N)?;
        self.at += N;
        bytes.try_into().ok()
    }
}

fn remainder(total: u64) -> String {
    match fold(total) {
        0xffff => "correct".to_owned(),
        rest => format!("off {:#06x}", u16::from_be(rest)),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
