//! `sock_diag`: `struct inet_diag_req_v2` and `struct inet_diag_msg` of `linux/inet_diag.h`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::{Error, Listener};
use crate::model::Protocol;

const REQUEST: &str = "SOCK_DIAG_BY_FAMILY";
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const INET_DIAG_SKV6ONLY: u16 = 11;
const HEADER: usize = 16;
const REPLY: usize = 72;

/// States as bits; `TCP_LISTEN` for TCP, for UDP `TCP_CLOSE` (bound) and `TCP_ESTABLISHED` (connected).
const TCP_LISTENING: u32 = 1 << 10;
const UDP_BOUND: u32 = 1 << 7 | 1 << 1;

/// Sockets that receive what comes to their port.
pub(super) fn listeners(protocol: Protocol) -> Result<Vec<Listener>, Error> {
    let failed = |source| Error::Netlink {
        request: REQUEST,
        object: format!("{protocol:?} sockets"),
        source,
    };
    let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(failed)?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        socket
            .send_to(&request(protocol, family), &SocketAddr::new(0, 0), 0)
            .map_err(failed)?;
        loop {
            let (datagram, _) = socket.recv_from_full().map_err(failed)?;
            match parse(&datagram, protocol, &mut found) {
                Ok(true) => {}
                Ok(false) => break,
                // Without IPv6 or without the protocol there are no sockets.
                Err(libc::ENOENT) => break,
                Err(errno) => return Err(failed(std::io::Error::from_raw_os_error(errno))),
            }
        }
    }
    found.retain(|listener| listener.port != 0);
    Ok(found)
}

fn request(protocol: Protocol, family: i32) -> Vec<u8> {
    let (number, states) = match protocol {
        Protocol::Udp => (libc::IPPROTO_UDP, UDP_BOUND),
        Protocol::Tcp | Protocol::Sctp => (libc::IPPROTO_TCP, TCP_LISTENING),
    };
    let flags = (libc::NLM_F_REQUEST | libc::NLM_F_DUMP) as u16;
    let mut bytes = Vec::with_capacity(HEADER + 56);
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(flags.to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, number as u8, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend([0; 48]);
    bytes
}

/// `Ok(true)` if more follows; `Err` holds an errno.
fn parse(mut datagram: &[u8], protocol: Protocol, found: &mut Vec<Listener>) -> Result<bool, i32> {
    while let Some(length) = u32_at(datagram, 0) {
        let length = length as usize;
        let Some(body) = datagram.get(HEADER..length) else {
            break;
        };
        match i32::from(u16_at(datagram, 4).unwrap_or_default()) {
            libc::NLMSG_DONE => return Ok(false),
            libc::NLMSG_ERROR => {
                return Err(u32_at(body, 0).unwrap_or_default().cast_signed().abs());
            }
            _ => found.extend(listener(body, protocol)),
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(true)
}

fn listener(body: &[u8], protocol: Protocol) -> Option<Listener> {
    let address: [u8; 16] = body.get(8..24)?.try_into().ok()?;
    let ip = if i32::from(*body.first()?) == libc::AF_INET {
        let [a, b, c, d, ..] = address;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(address))
    };
    Some(Listener {
        protocol,
        ip,
        port: u16::from_be_bytes([*body.get(4)?, *body.get(5)?]),
        v6_only: v6_only(body.get(REPLY..)?),
        inode: u64::from(u32_at(body, 68)?),
    })
}

fn v6_only(mut attributes: &[u8]) -> bool {
    while let (Some(length), Some(kind)) = (u16_at(attributes, 0), u16_at(attributes, 2)) {
        if kind == INET_DIAG_SKV6ONLY {
            return attributes.get(4).is_some_and(|value| *value != 0);
        }
        let next = usize::from(length).next_multiple_of(4).max(4);
        attributes = attributes.get(next..).unwrap_or_default();
    }
    false
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}
