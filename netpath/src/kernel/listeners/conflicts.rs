//! Sockets of the node that hold a published port: bound before the port was published, or by a process outside the cgroup.

use std::net::IpAddr;

use super::{Error, Listener, all, local_port_range, owner};
use crate::model::Protocol;

/// A published range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// Transport protocol.
    pub protocol: Protocol,
    /// As in [`Listener::serves`].
    pub host_ip: Option<IpAddr>,
    /// First port.
    pub first: u16,
    /// Last port.
    pub last: u16,
}

/// A socket that holds a published port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The socket.
    pub listener: Listener,
    /// The process that has it open, if it is found.
    pub owner: Option<String>,
}

impl std::fmt::Display for Conflict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Listener { protocol, port, .. } = self.listener;
        let owner = self.owner.as_deref().unwrap_or("another program");
        write!(
            f,
            "{owner} is bound to port {port}/{protocol}, which is published; it receives no clients from outside"
        )
    }
}

/// The sockets of the calling thread's network namespace that hold published ports.
///
/// A UDP socket with a port from the range of automatic ports is left out: the kernel may have chosen its port, which is no
/// conflict.
///
/// # Errors
/// If the kernel refuses the request.
pub fn conflicts(published: &[Published]) -> Result<Vec<Conflict>, Error> {
    let mut found = Vec::new();
    for protocol in [Protocol::Tcp, Protocol::Udp] {
        let ranges: Vec<_> = published
            .iter()
            .filter(|range| range.protocol == protocol)
            .collect();
        if ranges.is_empty() {
            continue;
        }
        let automatic = match protocol {
            Protocol::Udp => Some(local_port_range()?),
            Protocol::Tcp | Protocol::Sctp => None,
        };
        let listeners = all(protocol)?;
        let holding = listeners.into_iter().filter(|listener| {
            let port = listener.port;
            let is_automatic = automatic.is_some_and(|(first, last)| first <= port && port <= last);
            let contains = |range: &&Published| {
                range.first <= port && port <= range.last && listener.serves(range.host_ip)
            };
            !is_automatic && ranges.iter().any(contains)
        });
        found.extend(holding.map(|listener| Conflict {
            owner: owner(listener.inode),
            listener,
        }));
    }
    Ok(found)
}
