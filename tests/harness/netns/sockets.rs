//! The ports that are in use in a namespace.

use std::fs;

/// A transport protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

/// Whether a port is in use in the namespace of the calling thread.
pub(super) fn listens(transport: Transport, port: u16) -> bool {
    let (files, state) = match transport {
        Transport::Tcp => (["tcp", "tcp6"], "0A"),
        Transport::Udp => (["udp", "udp6"], "07"),
    };
    files.iter().any(|file| {
        fs::read_to_string(format!("/proc/thread-self/net/{file}"))
            .is_ok_and(|table| table.lines().skip(1).any(|line| matches(line, port, state)))
    })
}

/// Columns: index, local address and port in hexadecimal, remote address and port, state.
fn matches(line: &str, port: u16, state: &str) -> bool {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields
        .next()
        .and_then(|local| local.rsplit_once(':'))
        .and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    local == Some(port) && fields.nth(1) == Some(state)
}
