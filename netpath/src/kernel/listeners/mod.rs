//! Ports that sockets of the node use, in the network namespace of the calling thread.
//!
//! TCP and UDP sockets are read by `sock_diag`, whose cost is independent of connections; SCTP sockets from
//! `/proc`, because its `sock_diag` is a module that most systems do not load.

mod conflicts;
mod diag;
mod owner;

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
};

use super::{Error, sysctl};
use crate::model::Protocol;

pub use conflicts::{Conflict, Published, conflicts};
pub use owner::{owner, sockets_of};

/// A socket that receives packets to a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Address it is bound to; unspecified for every address.
    pub ip: IpAddr,
    /// Port.
    pub port: u16,
    /// Whether an IPv6 socket does not receive IPv4 packets (`IPV6_V6ONLY`).
    pub v6_only: bool,
    /// Inode of the socket, for [`owner()`].
    pub inode: u64,
}

impl Listener {
    /// Whether it would receive packets to `ip`; `None` means every address, and an unspecified
    /// address means every address of its family.
    pub fn serves(&self, ip: Option<IpAddr>) -> bool {
        let Some(ip) = ip else {
            return true;
        };
        let own = self.ip.to_canonical();
        let dual = own == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && !self.v6_only;
        if ip.is_unspecified() {
            return dual || own.is_ipv6() == ip.is_ipv6();
        }
        own == ip || dual || (own.is_unspecified() && own.is_ipv6() == ip.is_ipv6())
    }
}

/// Every socket of a protocol that receives packets to its port: TCP listener, bound UDP socket, or SCTP endpoint.
pub fn all(protocol: Protocol) -> Result<Vec<Listener>, Error> {
    match protocol {
        Protocol::Tcp | Protocol::Udp => diag::listeners(protocol),
        Protocol::Sctp => Ok(sctp()),
    }
}

/// Aborts UDP sockets of the node that are connected to one of these addresses; returns their number.
///
/// The socket programs select the sandbox when a socket is connected, and cannot change it later. Without the sandbox,
/// packets of the socket would be lost without an error.
///
/// # Errors
/// If the kernel refuses the request, or was built without `CONFIG_INET_DIAG_DESTROY`; a retry does not help.
pub fn abort_connected(remotes: &[IpAddr]) -> Result<usize, Error> {
    diag::abort_connected(remotes)
}

/// The user of a port of the node, for example `nginx (pid 123)`; `None` if it is free. `ip` as in [`Listener::serves`].
pub fn listening(
    protocol: Protocol,
    ip: Option<IpAddr>,
    port: u16,
) -> Result<Option<String>, Error> {
    let found = all(protocol)?
        .into_iter()
        .find(|listener| listener.port == port && listener.serves(ip));
    Ok(found.map(|listener| {
        owner(listener.inode).unwrap_or_else(|| format!("socket {}", listener.inode))
    }))
}

/// First and last ephemeral port of sockets.
pub fn local_port_range() -> Result<(u16, u16), Error> {
    let key = "net/ipv4/ip_local_port_range";
    let numbers = sysctl::read_numbers(key)?;
    match numbers.as_slice() {
        [first, last] => Ok((port(key, *first)?, port(key, *last)?)),
        _ => Err(malformed(key, format!("{numbers:?}"))),
    }
}

fn port(key: &str, number: u64) -> Result<u16, Error> {
    u16::try_from(number).map_err(|_| malformed(key, number.to_string()))
}

fn malformed(key: &str, found: String) -> Error {
    Error::Format {
        path: format!("/proc/sys/{key}"),
        expected: "port numbers",
        found,
    }
}

/// The file is absent where the kernel has no SCTP.
fn sctp() -> Vec<Listener> {
    fs::read_to_string("/proc/thread-self/net/sctp/eps")
        .map(|text| parse_sctp(&text))
        .unwrap_or_default()
}

/// Columns: ENDPT SOCK STY SST HBKT LPORT UID INODE LADDRS.
fn parse_sctp(text: &str) -> Vec<Listener> {
    let mut found = Vec::new();
    for line in text.lines().skip(1) {
        let mut fields = line.split_ascii_whitespace().skip(5);
        let port = fields.next().and_then(|port| port.parse().ok());
        let inode = fields.nth(1).and_then(|inode| inode.parse().ok());
        let (Some(port), Some(inode)) = (port, inode) else {
            continue;
        };
        found.extend(fields.filter_map(|ip| ip.parse().ok()).map(|ip| Listener {
            protocol: Protocol::Sctp,
            ip,
            port,
            v6_only: false,
            inode,
        }));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(ip: &str, v6_only: bool) -> Listener {
        Listener {
            protocol: Protocol::Tcp,
            ip: ip.parse().expect("address"),
            port: 80,
            v6_only,
            inode: 1,
        }
    }

    #[test]
    fn listener_serves_its_address_and_wildcard_its_family() {
        let ask = |text: &str| Some(text.parse::<IpAddr>().expect("address"));
        let cases = [
            ("127.0.0.1", false, ["127.0.0.1", "0.0.0.0"].as_slice()),
            ("0.0.0.0", false, &["127.0.0.1", "0.0.0.0", "192.0.2.1"]),
            ("::1", false, &["::1", "::"]),
            ("::", true, &["::1", "::", "2001:db8::1"]),
            (
                "::",
                false,
                &[
                    "::1",
                    "::",
                    "2001:db8::1",
                    "127.0.0.1",
                    "0.0.0.0",
                    "192.0.2.1",
                ],
            ),
            ("::ffff:192.0.2.1", false, &["192.0.2.1", "0.0.0.0"]),
        ];
        let all = [
            "127.0.0.1",
            "0.0.0.0",
            "192.0.2.1",
            "::1",
            "::",
            "2001:db8::1",
        ];
        for (own, v6_only, served) in cases {
            let listener = listener(own, v6_only);
            assert!(listener.serves(None));
            for ip in all {
                assert_eq!(
                    listener.serves(ask(ip)),
                    served.contains(&ip),
                    "{own} and {ip}"
                );
            }
        }
    }

    #[test]
    fn sctp_endpoints_are_read() {
        let text = " ENDPT     SOCK   STY SST HBKT LPORT   UID INODE LADDRS\n\
                    0 0 2   10  29   9899       0 44123 192.0.2.1 2001:db8::1\n";
        let found = parse_sctp(text);
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].port, found[0].inode), (9899, 44123));
        assert_eq!(
            found[1].ip,
            "2001:db8::1".parse::<IpAddr>().expect("address")
        );
    }
}
