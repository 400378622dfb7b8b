//! Published ports.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A transport protocol that ports can be published for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

/// A port specification: `[HOST_IP:][HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// Transport protocol.
    pub protocol: Protocol,
    /// `None` for every address of the node.
    pub host_ip: Option<IpAddr>,
    /// First and last host port; `None` selects free ports.
    pub host_ports: Option<(u16, u16)>,
    /// First and last container port.
    pub container_ports: (u16, u16),
}

/// A published range. It has as many host ports as container ports, in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortMapping {
    /// Transport protocol.
    pub protocol: Protocol,
    /// `None` for every address of the node; `0.0.0.0` and `::` for every address of one family.
    pub host_ip: Option<IpAddr>,
    /// First host port.
    pub host_port: u16,
    /// Last host port.
    pub host_port_end: u16,
    /// First container port.
    pub container_port: u16,
    /// Last container port.
    pub container_port_end: u16,
    /// Allow-list; every source is allowed if empty.
    pub allow: Vec<IpNet>,
    /// Number of the allow-list in the map `allow`, from 1; 0 if `allow` is empty.
    pub allow_list: u32,
}

/// The text is not a port specification.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a port: {reason}; write [HOST_IP:][HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]"
)]
pub struct PortSpecError {
    text: String,
    reason: &'static str,
}

impl Protocol {
    /// Protocol number of the IP header.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl FromStr for PortSpec {
    type Err = PortSpecError;

    fn from_str(text: &str) -> Result<Self, PortSpecError> {
        parse(text).map_err(|reason| PortSpecError {
            text: text.to_owned(),
            reason,
        })
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        if let Some(ports) = self.host_ports {
            write!(f, "{}:", Span(ports))?;
        }
        write!(f, "{}/{}", Span(self.container_ports), self.protocol)
    }
}

/// The specification that names this mapping only.
impl From<&PortMapping> for PortSpec {
    fn from(mapping: &PortMapping) -> Self {
        Self {
            protocol: mapping.protocol,
            host_ip: mapping.host_ip,
            host_ports: Some((mapping.host_port, mapping.host_port_end)),
            container_ports: (mapping.container_port, mapping.container_port_end),
        }
    }
}

impl fmt::Display for PortMapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        PortSpec::from(self).fmt(f)
    }
}

/// A range of ports as users write it: `80` or `80-89`.
pub(crate) struct Span(pub (u16, u16));

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.0;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

fn parse(text: &str) -> Result<PortSpec, &'static str> {
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((ports, "sctp")) => (ports, Protocol::Sctp),
        Some(_) => return Err("the protocol must be tcp, udp or sctp"),
    };
    let (host_ip, ports) = split_host_ip(ports)?;
    let (host_ports, container_ports) = match ports.split_once(':') {
        None => (None, span(ports)?),
        Some(("", container)) => (None, span(container)?),
        Some((host, container)) => (Some(span(host)?), span(container)?),
    };
    if let Some((first, last)) = host_ports {
        let (container_first, container_last) = container_ports;
        let same = last - first == container_last - container_first;
        if !same && container_first != container_last {
            return Err("the host range and the container range differ in length");
        }
    }
    Ok(PortSpec {
        protocol,
        host_ip,
        host_ports,
        container_ports,
    })
}

fn split_host_ip(text: &str) -> Result<(Option<IpAddr>, &str), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (ip, rest) = rest.split_once(']').ok_or("the bracket is not closed")?;
        let ip = ip
            .parse()
            .map_err(|_| "the text in brackets is not an IPv6 address")?;
        let ports = rest
            .strip_prefix(':')
            .ok_or("no port follows the address")?;
        return Ok((Some(IpAddr::V6(ip)), ports));
    }
    match text.split_once(':') {
        Some((first, ports)) if first.contains('.') => {
            let ip = first
                .parse()
                .map_err(|_| "the host address is not an IPv4 address")?;
            Ok((Some(IpAddr::V4(ip)), ports))
        }
        _ if text.matches(':').count() > 1 => {
            Err("it has too many parts; write an IPv6 address in brackets")
        }
        _ => Ok((None, text)),
    }
}

fn span(text: &str) -> Result<(u16, u16), &'static str> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (port(first)?, port(last)?) {
        (first, last) if first > last => Err("the end of the range is below its start"),
        ports => Ok(ports),
    }
}

fn port(text: &str) -> Result<u16, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err("a port is not a number");
    }
    match text.parse() {
        Ok(0) => Err("port 0 is invalid"),
        Ok(port) => Ok(port),
        Err(_) => Err("a port is larger than 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_port_specifications_are_parsed() {
        for (text, shown) in [
            ("80", "80/tcp"),
            ("8080:80", "8080:80/tcp"),
            ("53:53/udp", "53:53/udp"),
            ("127.0.0.1:8080:80", "127.0.0.1:8080:80/tcp"),
            ("127.0.0.1::80", "127.0.0.1:80/tcp"),
            ("127.0.0.1:80", "127.0.0.1:80/tcp"),
            ("[::1]:8080:80/tcp", "[::1]:8080:80/tcp"),
            ("[::]:80", "[::]:80/tcp"),
            ("8000-8010:80", "8000-8010:80/tcp"),
            ("8000-8010:9000-9010", "8000-8010:9000-9010/tcp"),
            ("9000-9010/sctp", "9000-9010/sctp"),
            ("1-65535:1-65535", "1-65535:1-65535/tcp"),
        ] {
            let spec: PortSpec = text.parse().expect(text);
            assert_eq!(spec.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(spec), "{text}");
        }
    }

    #[test]
    fn invalid_port_specification_is_refused() {
        for text in [
            "",
            "0",
            "0:80",
            "80:0",
            "65536",
            "80-70",
            "80:",
            ":",
            "80/icmp",
            "80/",
            "a:80",
            "+80",
            "1-3:1-2",
            "1:1-2",
            "::1:80:80",
            "[::1]80",
            "[::1",
            "[127.0.0.1]:1:1",
            "1:2:3",
            "256.0.0.1:80:80",
            "80 ",
            "-80",
            "80-",
        ] {
            assert!(text.parse::<PortSpec>().is_err(), "{text}");
        }
    }
}
