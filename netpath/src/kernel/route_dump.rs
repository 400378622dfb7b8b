//! Dumps of routing tables with hundreds of thousands of routes: unwanted messages are skipped by their header, and the
//! others are parsed one at a time.

use std::{
    io,
    sync::atomic::{AtomicU32, Ordering},
};

use rtnetlink::{
    packet_core::{
        NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    },
    packet_route::{
        AddressFamily, RouteNetlinkMessage as Message,
        route::{RouteFlags, RouteMessage},
    },
    sys::{Socket, protocols::NETLINK_ROUTE},
};

use super::{Error, socket::DUMP_ATTEMPTS};

/// Size of the receive buffer in bytes; the kernel fills at most this much per datagram of a dump.
const DATAGRAM: usize = 32 << 10;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Offset of `rtm_dst_len` in a message.
const DESTINATION_LENGTH: usize = HEADER + 1;

/// `RTM_NEWROUTE` (linux/rtnetlink.h).
const NEW_ROUTE: u16 = 24;

/// Which routes a dump returns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Whether IPv6 routes are returned instead of IPv4 routes.
    pub v6: bool,
    /// The routing table; every table if `None`. The kernel selects it.
    pub table: Option<u8>,
    /// Whether only default routes are returned.
    pub defaults: bool,
}

/// Routes in the namespace of the calling thread, passed to `add` one by one. Blocks.
pub(super) fn dump<T: Default>(
    wanted: Wanted,
    mut add: impl FnMut(&mut T, &RouteMessage),
) -> Result<T, Error> {
    let object = if wanted.v6 {
        "IPv6 routes"
    } else {
        "IPv4 routes"
    };
    for _ in 0..DUMP_ATTEMPTS {
        let mut found = T::default();
        match attempt(wanted, &mut |route| add(&mut found, route)) {
            Ok(true) => return Ok(found),
            Ok(false) => {}
            // IPv6 is disabled, or the table does not exist.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EAFNOSUPPORT)
                ) =>
            {
                return Ok(T::default());
            }
            Err(source) => {
                return Err(Error::Netlink {
                    request: "RTM_GETROUTE",
                    object: object.to_owned(),
                    source,
                });
            }
        }
    }
    Err(Error::Unstable {
        request: "RTM_GETROUTE",
        object: object.to_owned(),
    })
}

/// One dump; false if the tables changed meanwhile.
fn attempt(wanted: Wanted, add: &mut dyn FnMut(&RouteMessage)) -> io::Result<bool> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.set_netlink_get_strict_chk(true)?;
    socket.send(&request(wanted), 0)?;
    let mut buffer: Vec<u8> = Vec::with_capacity(DATAGRAM);
    let mut consistent = true;
    loop {
        buffer.clear();
        socket.recv(&mut buffer, 0)?;
        let mut rest = buffer.as_slice();
        while let Some(header) = Header::of(rest) {
            let message = rest.get(..header.length).ok_or_else(truncated)?;
            consistent &= header.flags & NLM_F_DUMP_INTR == 0;
            match header.kind {
                NEW_ROUTE if wanted.defaults && message.get(DESTINATION_LENGTH) != Some(&0) => {}
                NEW_ROUTE => visit(message, add)?,
                _ if end(message)? => return Ok(consistent),
                _ => {}
            }
            rest = rest
                .get(header.length.next_multiple_of(4)..)
                .unwrap_or_default();
        }
    }
}

fn request(wanted: Wanted) -> Vec<u8> {
    static SEQUENCE: AtomicU32 = AtomicU32::new(1);
    let mut message = RouteMessage::default();
    message.header.address_family = family(wanted.v6);
    message.header.table = wanted.table.unwrap_or_default();
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = SEQUENCE.fetch_add(1, Ordering::Relaxed);
    let mut request = NetlinkMessage::new(header, NetlinkPayload::from(Message::GetRoute(message)));
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    bytes
}

/// Number of parsed routes, for tests.
#[cfg(test)]
pub(super) static PARSED: AtomicU32 = AtomicU32::new(0);

fn visit(message: &[u8], add: &mut dyn FnMut(&RouteMessage)) -> io::Result<()> {
    #[cfg(test)]
    PARSED.fetch_add(1, Ordering::Relaxed);
    let parsed = NetlinkMessage::<Message>::deserialize(message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    if let NetlinkPayload::InnerMessage(Message::NewRoute(route)) = parsed.payload
        && !route.header.flags.contains(RouteFlags::Cloned)
    {
        add(&route);
    }
    Ok(())
}

/// Whether the message ends the dump.
fn end(message: &[u8]) -> io::Result<bool> {
    let parsed = NetlinkMessage::<Message>::deserialize(message)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
    match parsed.payload {
        NetlinkPayload::Done(done) if done.code != 0 => {
            Err(io::Error::from_raw_os_error(done.code.saturating_neg()))
        }
        NetlinkPayload::Done(_) => Ok(true),
        NetlinkPayload::Error(error) if error.code.is_some() => Err(error.to_io()),
        NetlinkPayload::Overrun(_) => Err(io::Error::from_raw_os_error(libc::ENOBUFS)),
        _ => Ok(false),
    }
}

/// The start of `struct nlmsghdr`.
struct Header {
    length: usize,
    kind: u16,
    flags: u16,
}

impl Header {
    /// `None` at the end of a datagram.
    fn of(bytes: &[u8]) -> Option<Self> {
        let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
        Some(Self {
            length: length.max(HEADER),
            kind: u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?),
            flags: u16::from_ne_bytes(bytes.get(6..8)?.try_into().ok()?),
        })
    }
}

fn truncated() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "truncated message")
}

pub(super) fn family(v6: bool) -> AddressFamily {
    if v6 {
        AddressFamily::Inet6
    } else {
        AddressFamily::Inet
    }
}
