//! Bytes as named fields, to show where two packets differ.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use netpath_common::checksum::{fold, sum};

use super::build::right_checksum;

/// The fields of a packet, in order.
pub fn describe(bytes: &[u8]) -> Vec<(&'static str, String)> {
    let mut reader = Reader {
        bytes,
        at: 0,
        fields: Vec::new(),
    };
    // What is cut off is not described; the length shows it.
    let _ = reader.ethernet();
    reader.fields.push(("length", bytes.len().to_string()));
    reader.fields
}

/// The fields in which two packets differ, a line each; empty if their bytes are the same.
pub fn difference(expected: &[u8], found: &[u8]) -> String {
    if expected == found {
        return String::new();
    }
    let wanted = describe(expected);
    let is: BTreeMap<_, _> = describe(found).into_iter().collect();
    let mut text = String::new();
    for (name, value) in &wanted {
        let other = is.get(name).map_or("absent", String::as_str);
        if other != value {
            let _ = writeln!(text, "      {name}: expected {value}, found {other}");
        }
    }
    for (name, value) in &is {
        if !wanted.iter().any(|(known, _)| known == name) {
            let _ = writeln!(text, "      {name}: expected absent, found {value}");
        }
    }
    if text.is_empty() {
        let at = expected.iter().zip(found).position(|(a, b)| a != b);
        let _ = writeln!(text, "      bytes differ from offset {at:?} on");
    }
    text
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    fields: Vec<(&'static str, String)>,
}

impl Reader<'_> {
    fn ethernet(&mut self) -> Option<()> {
        self.mac("eth.destination")?;
        self.mac("eth.source")?;
        let mut ethertype = self.number("eth.type")?;
        if ethertype == 0x8100 {
            self.number("vlan")?;
            ethertype = self.number("vlan.type")?;
        }
        match ethertype {
            0x0800 => self.v4(),
            0x86dd => self.v6(),
            _ => self.rest("body"),
        }
    }

    fn v4(&mut self) -> Option<()> {
        let start = self.at;
        let [vihl, tos] = self.take()?;
        self.show("ip.header", format!("{vihl:#x}"));
        self.show("ip.tos", tos);
        let total = usize::from(self.number("ip.length")?);
        self.number("ip.id")?;
        let fragment = self.number("ip.fragment")?;
        let [ttl, protocol] = self.take()?;
        self.show("ip.ttl", ttl);
        self.show("ip.protocol", protocol);
        self.number("ip.checksum")?;
        let src = Ipv4Addr::from(self.take()?);
        let dst = Ipv4Addr::from(self.take()?);
        self.show("ip.source", src);
        self.show("ip.destination", dst);
        let end = start + usize::from(vihl & 15) * 4;
        let header = self.bytes.get(start..end)?;
        self.show("ip.checksum.is", verdict(fold(sum(header)) == 0xffff));
        self.show("ip.options", hex(self.bytes.get(self.at..end)?));
        self.at = end;
        let body = self.bytes.get(end..(start + total).max(end))?;
        self.transport(src.into(), dst.into(), protocol, fragment & 0x1fff, body)
    }

    fn v6(&mut self) -> Option<()> {
        let [a, b, c, d] = self.take()?;
        self.show("ip.tos", a << 4 | b >> 4);
        self.show("ip.label", hex(&[b & 15, c, d]));
        self.number("ip.length")?;
        let [mut next, ttl] = self.take()?;
        self.show("ip.ttl", ttl);
        let src = Ipv6Addr::from(self.take::<16>()?);
        let dst = Ipv6Addr::from(self.take::<16>()?);
        self.show("ip.source", src);
        self.show("ip.destination", dst);
        let mut chain = String::new();
        let mut offset = 0;
        while matches!(next, 0 | 43 | 44 | 60) {
            let from = self.at;
            let [following, length] = self.take()?;
            let size = if next == 44 {
                8
            } else {
                (usize::from(length) + 1) * 8
            };
            let body = self.bytes.get(from..from + size)?;
            let _ = write!(chain, "{next}:{} ", hex(body));
            if next == 44 {
                offset = u16::from_be_bytes([body[2], body[3]]) >> 3;
            }
            next = following;
            self.at = from + size;
        }
        self.show("ip.extensions", chain);
        self.show("ip.protocol", next);
        let body = self.bytes.get(self.at..)?;
        self.transport(src.into(), dst.into(), next, offset, body)
    }

    fn transport(
        &mut self,
        src: std::net::IpAddr,
        dst: std::net::IpAddr,
        protocol: u8,
        offset: u16,
        body: &[u8],
    ) -> Option<()> {
        if offset != 0 {
            return self.rest("body");
        }
        let place = match protocol {
            6 => {
                self.number("source port")?;
                self.number("destination port")?;
                self.show_hex::<8>("tcp.numbers")?;
                self.show_hex::<2>("tcp.flags")?;
                16
            }
            17 => {
                self.number("source port")?;
                self.number("destination port")?;
                self.number("udp.length")?;
                6
            }
            1 | 58 => {
                self.show_hex::<2>("icmp.type")?;
                let id = body.get(4..6)?;
                self.show("icmp.id", u16::from_be_bytes([id[0], id[1]]));
                2
            }
            _ => return self.rest("body"),
        };
        let field = body.get(place..place + 2)?;
        let mut zeroed = body.to_vec();
        zeroed[place..place + 2].fill(0);
        let right = right_checksum(src, dst, protocol, &zeroed).to_ne_bytes();
        self.show("checksum", hex(field));
        let same = right == field || (protocol == 17 && right == [0, 0] && field == [0xff, 0xff]);
        self.show("checksum.is", verdict(same));
        self.rest("rest")
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let bytes = self.bytes.get(self.at..self.at + N)?;
        self.at += N;
        bytes.try_into().ok()
    }

    fn number(&mut self, name: &'static str) -> Option<u16> {
        let value = u16::from_be_bytes(self.take()?);
        self.show(name, value);
        Some(value)
    }

    fn mac(&mut self, name: &'static str) -> Option<()> {
        let mac = netpath_common::addr::MacAddr(self.take()?);
        self.show(name, mac);
        Some(())
    }

    fn show_hex<const N: usize>(&mut self, name: &'static str) -> Option<()> {
        let bytes = self.take::<N>()?;
        self.show(name, hex(&bytes));
        Some(())
    }

    fn rest(&mut self, name: &'static str) -> Option<()> {
        self.show(name, hex(self.bytes.get(self.at..)?));
        Some(())
    }

    fn show(&mut self, name: &'static str, value: impl ToString) {
        self.fields.push((name, value.to_string()));
    }
}

const fn verdict(right: bool) -> &'static str {
    if right { "right" } else { "wrong" }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
