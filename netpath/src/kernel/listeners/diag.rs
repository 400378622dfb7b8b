//! `sock_diag`: `struct inet_diag_req_v2` and `struct inet_diag_msg` of `linux/inet_diag.h`.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use rtnetlink::sys::{Socket, SocketAddr, protocols::NETLINK_SOCK_DIAG};

use super::{Error, Listener};
use crate::model::Protocol;

const REQUEST: &str = "SOCK_DIAG_BY_FAMILY";
const DESTROY: &str = "SOCK_DESTROY";
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const FAMILIES: [i32; 2] = [libc::AF_INET, libc::AF_INET6];
const INET_DIAG_SKV6ONLY: u16 = 11;
const HEADER: usize = 16;
const REPLY: usize = 72;

/// States as bits; `TCP_LISTEN` for TCP, for UDP `TCP_CLOSE` (bound) and `TCP_ESTABLISHED` (connected).
const TCP_LISTENING: u32 = 1 << 10;
const UDP_BOUND: u32 = 1 << 7 | CONNECTED;
const CONNECTED: u32 = 1 << 1;

/// Sockets that receive packets to their port.
pub(super) fn listeners(protocol: Protocol) -> Result<Vec<Listener>, Error> {
    let states = match protocol {
        Protocol::Udp => UDP_BOUND,
        Protocol::Tcp | Protocol::Sctp => TCP_LISTENING,
    };
    let mut found = Vec::new();
    for family in FAMILIES {
        let bodies = dump(protocol, family, states)?;
        found.extend(bodies.iter().filter_map(|body| listener(body, protocol)));
    }
    found.retain(|listener| listener.port != 0);
    Ok(found)
}

/// Aborts every UDP socket that is connected to one of these addresses; returns their number. Calls on such a socket fail
/// with `ECONNABORTED`; the process can connect again. Needs `CONFIG_INET_DIAG_DESTROY`.
pub(super) fn abort_connected(remotes: &[IpAddr]) -> Result<usize, Error> {
    let mut aborted = 0;
    for family in FAMILIES {
        for body in dump(Protocol::Udp, family, CONNECTED)? {
            let Some(identity) = body.get(4..52) else {
                continue;
            };
            if ip(&body, 24).is_some_and(|remote| remotes.contains(&remote.to_canonical())) {
                aborted += usize::from(destroy(family, identity)?);
            }
        }
    }
    Ok(aborted)
}

/// `false` if the socket no longer exists.
fn destroy(family: i32, identity: &[u8]) -> Result<bool, Error> {
    let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(failed(DESTROY))?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK;
    let message = request(
        SOCK_DESTROY,
        flags,
        Protocol::Udp,
        family,
        CONNECTED,
        identity,
    );
    socket
        .send_to(&message, &SocketAddr::new(0, 0), 0)
        .map_err(failed(DESTROY))?;
    let (datagram, _) = socket.recv_from_full().map_err(failed(DESTROY))?;
    match parse(&datagram, &mut Vec::new()) {
        Ok(_) | Err(0) => Ok(true),
        Err(libc::ENOENT) => Ok(false),
        Err(errno) => Err(failed(DESTROY)(io::Error::from_raw_os_error(errno))),
    }
}

fn failed(request: &'static str) -> impl Fn(io::Error) -> Error {
    move |source| Error::Netlink {
        request,
        object: "sockets".to_owned(),
        source,
    }
}

/// Every socket in one of these states, as `struct inet_diag_msg` with its attributes.
fn dump(protocol: Protocol, family: i32, states: u32) -> Result<Vec<Vec<u8>>, Error> {
    let socket = Socket::new(NETLINK_SOCK_DIAG).map_err(failed(REQUEST))?;
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_DUMP;
    let message = request(
        SOCK_DIAG_BY_FAMILY,
        flags,
        protocol,
        family,
        states,
        &[0; 48],
    );
    socket
        .send_to(&message, &SocketAddr::new(0, 0), 0)
        .map_err(failed(REQUEST))?;
    let mut bodies = Vec::new();
    loop {
        let (datagram, _) = socket.recv_from_full().map_err(failed(REQUEST))?;
        match parse(&datagram, &mut bodies) {
            Ok(true) => {}
            // Without IPv6 or without the protocol there are no sockets.
            Ok(false) | Err(libc::ENOENT) => return Ok(bodies),
            Err(errno) => return Err(failed(REQUEST)(io::Error::from_raw_os_error(errno))),
        }
    }
}

fn request(
    kind: u16,
    flags: i32,
    protocol: Protocol,
    family: i32,
    states: u32,
    identity: &[u8],
) -> Vec<u8> {
    let number = match protocol {
        Protocol::Udp => libc::IPPROTO_UDP,
        Protocol::Tcp | Protocol::Sctp => libc::IPPROTO_TCP,
    };
    let mut bytes = Vec::with_capacity(HEADER + 56);
    bytes.extend(72_u32.to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags as u16).to_ne_bytes());
    bytes.extend([0; 8]);
    bytes.extend([family as u8, number as u8, 0, 0]);
    bytes.extend(states.to_ne_bytes());
    bytes.extend(identity);
    bytes
}

/// `Ok(true)` if more follows; `Err` holds an errno, 0 for an acknowledgement.
fn parse(mut datagram: &[u8], bodies: &mut Vec<Vec<u8>>) -> Result<bool, i32> {
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
            _ => bodies.push(body.to_vec()),
        }
        datagram = datagram
            .get(length.next_multiple_of(4)..)
            .unwrap_or_default();
    }
    Ok(true)
}

fn listener(body: &[u8], protocol: Protocol) -> Option<Listener> {
    Some(Listener {
        protocol,
        ip: ip(body, 8)?,
        port: u16::from_be_bytes([*body.get(4)?, *body.get(5)?]),
        v6_only: v6_only(body.get(REPLY..)?),
        inode: u64::from(u32_at(body, 68)?),
    })
}

/// The address at an offset. Its family is that of the message.
fn ip(body: &[u8], at: usize) -> Option<IpAddr> {
    let address: [u8; 16] = body.get(at..at + 16)?.try_into().ok()?;
    if i32::from(*body.first()?) != libc::AF_INET {
        return Some(IpAddr::V6(Ipv6Addr::from(address)));
    }
    let [a, b, c, d, ..] = address;
    Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d)))
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
