//! Netlink events about changes of devices, addresses and routes.

use std::{collections::VecDeque, io, os::fd::AsFd};

use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{
        AddressFamily, RouteNetlinkMessage as Message,
        link::{LinkAttribute, LinkFlags},
    },
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::Error;

/// Size of the receive buffer in bytes; enough for bursts of several thousand events.
const RECEIVE_BUFFER: usize = 2 << 20;

/// Size of the buffer for one datagram in bytes. The kernel sends smaller ones to multicast groups.
const DATAGRAM: usize = 64 << 10;

/// Datagrams that are received at a time, so that consecutive changes of routes become one event.
const BURST: usize = 256;

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// `RTM_NEWROUTE` and `RTM_DELROUTE` (linux/rtnetlink.h).
const ROUTE_MESSAGES: [u16; 2] = [24, 25];

/// The table with the routes to the namespace's own addresses (`RT_TABLE_LOCAL`). Its changes are ignored, because the
/// kernel also sends an event for each changed address.
const TABLE_LOCAL: u8 = 255;

/// A change in the network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device was created, changed or removed.
    LinkChanged {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// Whether it was removed.
        gone: bool,
        /// Whether it is up.
        up: bool,
    },
    /// An address was added, changed or removed.
    AddressChanged {
        /// Index of its device.
        index: u32,
    },
    /// A default route was added, changed or removed.
    RouteChanged,
    /// A policy rule was added or removed.
    RuleChanged,
    /// Another route was added, changed or removed. There may be many: several consecutive changes are one event, and their
    /// messages are not parsed.
    PrefixRouteChanged,
    /// A queueing discipline or a filter was removed; it may have been one of netpath's.
    FilterRemoved {
        /// Index of its device.
        index: u32,
    },
    /// Events were lost: the receiver must observe the whole state.
    Lost,
}

/// The events of one network namespace, on a separate socket. One change may cause several events.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
    queue: VecDeque<Event>,
    /// Whether the kernel has reported lost events. It drops further events without a report until the socket is empty.
    congested: bool,
}

impl Watch {
    /// Opens the socket in the namespace of the calling thread. Later changes cause events.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO enabled.
    pub fn open() -> Result<Self, Error> {
        Self::with_receive_buffer(RECEIVE_BUFFER)
    }

    /// As [`Self::open`], with a receive buffer of about this many bytes.
    pub(super) fn with_receive_buffer(bytes: usize) -> Result<Self, Error> {
        let failed = |call| move |source: io::Error| Error::syscall(call, "netlink events", source);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed("socket"))?;
        setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &bytes)
            .map_err(|errno| failed("setsockopt(SO_RCVBUFFORCE)")(errno.into()))?;
        socket.set_non_blocking(true).map_err(failed("fcntl"))?;
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Tc,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
            MulticastGroup::Ipv4Rule,
            MulticastGroup::Ipv6Rule,
        ]
        .iter()
        .fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        socket
            .bind(&SocketAddr::new(0, groups))
            .map_err(failed("bind"))?;
        // SAFETY: the `AsyncFd` owns the socket, and nothing replaces it.
        let socket = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }
            .map_err(|error| failed("epoll_ctl")(error.into()))?;
        Ok(Self {
            socket,
            buffer: Vec::with_capacity(DATAGRAM),
            queue: VecDeque::new(),
            congested: false,
        })
    }

    /// The next event. Cancel-safe.
    pub async fn next(&mut self) -> Result<Event, Error> {
        loop {
            if let Some(event) = self.queue.pop_front() {
                return Ok(event);
            }
            self.receive().await?;
        }
    }

    async fn receive(&mut self) -> Result<(), Error> {
        let failed = |source| Error::syscall("recv", "netlink events", source);
        let mut ready = self.socket.readable().await.map_err(failed)?;
        for _ in 0..BURST {
            self.buffer.clear();
            let buffer = &mut self.buffer;
            match ready.try_io(|socket| socket.get_ref().recv(buffer, 0)) {
                Ok(Ok(_)) => parse(&self.buffer, &mut self.queue),
                Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.congested = true;
                }
                Ok(Err(error)) => return Err(failed(error)),
                Err(_would_block) => {
                    if std::mem::take(&mut self.congested) {
                        self.queue.push_back(Event::Lost);
                    }
                    break;
                }
            }
        }
        Ok(())
    }
}

fn parse(mut datagram: &[u8], queue: &mut VecDeque<Event>) {
    while !datagram.is_empty() {
        if let Some((length, event)) = prefix_route(datagram) {
            if queue.back() != event.as_ref() {
                queue.extend(event);
            }
            datagram = datagram.get(length..).unwrap_or_default();
            continue;
        }
        let Ok(message) = NetlinkMessage::<Message>::deserialize(datagram) else {
            // A kind of change that this version does not parse.
            queue.push_back(Event::Lost);
            return;
        };
        let length = (message.header.length as usize).next_multiple_of(4);
        queue.extend(event(message.payload));
        datagram = datagram.get(length.max(HEADER)..).unwrap_or_default();
    }
}

/// Length of the first message and its event, if it is a message about a route that is no default route. From the
/// headers only: `nlmsg_len`, `nlmsg_type`, `rtm_dst_len` and `rtm_table`.
fn prefix_route(datagram: &[u8]) -> Option<(usize, Option<Event>)> {
    let length = u32::from_ne_bytes(datagram.get(..4)?.try_into().ok()?) as usize;
    let kind = u16::from_ne_bytes(datagram.get(4..6)?.try_into().ok()?);
    let (prefix_length, table) = (*datagram.get(HEADER + 1)?, *datagram.get(HEADER + 4)?);
    if !ROUTE_MESSAGES.contains(&kind) || prefix_length == 0 {
        return None;
    }
    let event = (table != TABLE_LOCAL).then_some(Event::PrefixRouteChanged);
    Some((length.next_multiple_of(4).max(HEADER), event))
}

fn event(payload: NetlinkPayload<Message>) -> Option<Event> {
    let message = match payload {
        NetlinkPayload::InnerMessage(message) => message,
        NetlinkPayload::Overrun(_) => return Some(Event::Lost),
        _ => return None,
    };
    match message {
        Message::NewLink(ref link) | Message::DelLink(ref link) => {
            let name = link
                .attributes
                .iter()
                .find_map(|attribute| match attribute {
                    LinkAttribute::IfName(name) => Some(name.clone()),
                    _ => None,
                });
            // In the bridge family, the message means that a port has left its bridge; the device still exists.
            let gone = matches!(message, Message::DelLink(_))
                && link.header.interface_family != AddressFamily::Bridge;
            Some(Event::LinkChanged {
                index: link.header.index,
                name: name.unwrap_or_default(),
                gone,
                up: link.header.flags.contains(LinkFlags::Up),
            })
        }
        Message::NewAddress(address) | Message::DelAddress(address) => {
            Some(Event::AddressChanged {
                index: address.header.index,
            })
        }
        Message::NewRoute(route) | Message::DelRoute(route)
            if route.header.table != TABLE_LOCAL =>
        {
            Some(Event::RouteChanged)
        }
        Message::NewRule(_) | Message::DelRule(_) => Some(Event::RuleChanged),
        Message::DelQueueDiscipline(removed) | Message::DelTrafficFilter(removed) => {
            let index = u32::try_from(removed.header.index).ok()?;
            Some(Event::FilterRemoved { index })
        }
        _ => None,
    }
}
