//! A packet as named fields.
//!
//! A transport checksum field has the value `correct`, or its difference from the correct value in ones' complement.
//! This allows two packets to be compared although their ports differ, also where an ICMP error quotes only the
//! beginning of a packet: an incremental update keeps the difference.

use std::{collections::BTreeMap, fmt::Write as _, net::IpAddr};

use super::decode::decode;

/// Numbers of protocols.
pub mod number {
    /// ICMP.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMPv6.
    pub const ICMPV6: u8 = 58;
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Any field except a port.
    Text(String),
    /// A port or an echo identifier: protocol, context and number. The context is the address that the port belongs to,
    /// the peer's address, and the peer's port.
    Port(u8, ([IpAddr; 2], u16), u16),
}

/// A decoded packet, from the Ethernet header on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decoded {
    /// Fields in the order of the bytes; names of fields of a quoted packet begin with `quoted.`.
    pub fields: Vec<(String, Value)>,
    /// Source and destination address, then those of the quoted packet.
    pub addresses: Vec<IpAddr>,
    /// Source and destination port, then those of the quoted packet. An echo identifier is the port of the requester;
    /// the other port is 0.
    pub ports: Vec<u16>,
    /// Transport protocol of the outer packet.
    pub protocol: u8,
    /// Bytes of transport header and payload, by the length in the IP header.
    pub transport_length: usize,
    /// Type and code of an ICMP message.
    pub icmp: Option<(u8, u8)>,
    /// TCP flags of the outer packet.
    pub tcp_flags: Option<u8>,
    /// Whether it is a fragment.
    pub is_fragment: bool,
    /// Offset and length of a fragment, in bytes.
    pub fragment: Option<(usize, usize)>,
}

impl Decoded {
    /// The value of a field as text; empty if the packet does not have the field.
    pub fn text(&self, name: &str) -> String {
        let found = self.fields.iter().find(|(known, _)| known == name);
        found
            .map(|(_, value)| value.to_string())
            .unwrap_or_default()
    }

    /// The most important fields on one line.
    pub fn line(&self) -> String {
        let text = |name: &str| self.text(name);
        let end = |index: usize| {
            let address = self.addresses.get(index);
            let port = self.ports.get(index).filter(|port| **port != 0);
            let shown = address.map(ToString::to_string).unwrap_or_default();
            port.map_or(shown.clone(), |port| format!("{shown} port {port}"))
        };
        let mut line = format!(
            "protocol {} {} > {} ttl {}",
            self.protocol,
            end(0),
            end(1),
            text("ip.ttl")
        );
        for name in [
            "tcp.flags",
            "icmp.type",
            "icmp.code",
            "ip.fragment",
            "fragments",
            "length",
        ] {
            let value = text(name);
            if !value.is_empty() && value != "0x0000" {
                let _ = write!(line, " {name} {value}");
            }
        }
        for name in ["ip.checksum", "checksum"] {
            let value = text(name);
            if !value.is_empty() && value != "correct" {
                let _ = write!(line, " {name} {value}");
            }
        }
        if self.addresses.len() > 2 {
            let protocol = text("quoted.ip.protocol");
            let shown = |index: usize, name: &str| {
                let port = text(&format!("quoted.{name}"));
                format!("{} port {port}", self.addresses[index])
            };
            let _ = write!(
                line,
                " quoting protocol {protocol} {} > {}",
                shown(2, "source port"),
                shown(3, "destination port")
            );
        }
        line
    }

    /// Whether it is an ICMP error.
    pub fn is_icmp_error(&self) -> bool {
        match self.icmp {
            Some((kind, _)) if self.protocol == number::ICMP => matches!(kind, 3 | 4 | 5 | 11 | 12),
            Some((kind, _)) => kind < 128,
            None => false,
        }
    }
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Port(_, _, port) => write!(f, "{port}"),
        }
    }
}

/// The fields in which two packets differ, one per line; empty if their bytes are equal.
pub fn difference(expected: &[u8], found: &[u8]) -> String {
    if expected == found {
        return String::new();
    }
    let wanted = decode(expected).fields;
    let is: BTreeMap<_, _> = decode(found).fields.into_iter().collect();
    let mut text = String::new();
    let mut line = |name: &str, expected: &str, found: &str| {
        let _ = writeln!(text, "      {name}: expected {expected}, found {found}");
    };
    for (name, value) in &wanted {
        let other = is.get(name).map(ToString::to_string);
        let value = value.to_string();
        if other.as_ref() != Some(&value) {
            line(name, &value, other.as_deref().unwrap_or("absent"));
        }
    }
    for (name, value) in &is {
        if !wanted.iter().any(|(known, _)| known == name) {
            line(name, "absent", &value.to_string());
        }
    }
    if text.is_empty() {
        let at = expected.iter().zip(found).position(|(a, b)| a != b);
        let _ = writeln!(text, "      bytes differ from offset {at:?}");
    }
    text
}
