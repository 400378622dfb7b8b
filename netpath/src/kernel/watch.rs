//! Events of the kernel about changes of devices, addresses and routes.

use std::{collections::VecDeque, io, os::fd::AsFd};

use nix::sys::socket::{setsockopt, sockopt};
use rtnetlink::{
    MulticastGroup,
    packet_core::{NetlinkMessage, NetlinkPayload},
    packet_route::{AddressFamily, RouteNetlinkMessage as Message, link::LinkAttribute},
    sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE},
};
use tokio::io::{Interest, unix::AsyncFd};

use super::Error;

/// Enough for bursts of some thousand events.
const RECEIVE_BUFFER: usize = 2 << 20;

/// The largest datagram that the kernel sends to a multicast group is much smaller.
const DATAGRAM: usize = 64 << 10;

/// The table of the namespace's own addresses; it changes with them, so its routes are no news.
const TABLE_LOCAL: u8 = 255;

/// Something has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A device appeared, changed or went.
    LinkChanged {
        /// Its index.
        index: u32,
        /// Its name.
        name: String,
        /// Whether it went.
        gone: bool,
    },
    /// An address appeared or went.
    AddressChanged {
        /// Index of its device.
        index: u32,
    },
    /// A route appeared or went.
    RouteChanged,
    /// Events were lost: everything must be observed again.
    Lost,
}

/// The events of one network namespace, on a separate socket. One change may cause several events.
#[derive(Debug)]
pub struct Watch {
    socket: AsyncFd<Socket>,
    buffer: Vec<u8>,
    queue: VecDeque<Event>,
    /// The kernel has reported lost events. It drops more of them silently until the socket is empty.
    congested: bool,
}

impl Watch {
    /// For the namespace of the calling thread. Later changes cause events.
    ///
    /// # Panics
    /// Outside a tokio runtime with IO enabled.
    pub fn open() -> Result<Self, Error> {
        Self::with_receive_buffer(RECEIVE_BUFFER)
    }

    /// With a receive buffer of about this many bytes.
    pub(super) fn with_receive_buffer(bytes: usize) -> Result<Self, Error> {
        let failed = |call| move |source: io::Error| Error::syscall(call, "netlink events", source);
        let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed("socket"))?;
        setsockopt(&socket.as_fd(), sockopt::RcvBufForce, &bytes)
            .map_err(|errno| failed("setsockopt(SO_RCVBUFFORCE)")(errno.into()))?;
        socket.set_non_blocking(true).map_err(failed("fcntl"))?;
        let groups = [
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
            MulticastGroup::Ipv4Route,
            MulticastGroup::Ipv6Route,
        ]
        .iter()
        .fold(0, |mask, group| mask | 1 << (*group as u32 - 1));
        socket
            .bind(&SocketAddr::new(0, groups))
            .map_err(failed("bind"))?;
        // SAFETY: the socket is owned by the `AsyncFd` and not replaced while it is.
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
        self.buffer.clear();
        let buffer = &mut self.buffer;
        match ready.try_io(|socket| socket.get_ref().recv(buffer, 0)) {
            Ok(Ok(_)) => parse(&self.buffer, &mut self.queue),
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                self.congested = true;
            }
            Ok(Err(error)) => return Err(failed(error)),
            Err(_would_block) if self.congested => {
                self.congested = false;
                self.queue.push_back(Event::Lost);
            }
            Err(_would_block) => {}
        }
        Ok(())
    }
}

fn parse(mut datagram: &[u8], queue: &mut VecDeque<Event>) {
    while !datagram.is_empty() {
        let Ok(message) = NetlinkMessage::<Message>::deserialize(datagram) else {
            // A change that this version does not parse.
            queue.push_back(Event::Lost);
            return;
        };
        let length = (message.header.length as usize).next_multiple_of(4);
        queue.extend(event(message.payload));
        datagram = datagram.get(length.max(16)..).unwrap_or_default();
    }
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
            // In the bridge family, a port has left its bridge; the device still exists.
            let gone = matches!(message, Message::DelLink(_))
                && link.header.interface_family != AddressFamily::Bridge;
            Some(Event::LinkChanged {
                index: link.header.index,
                name: name.unwrap_or_default(),
                gone,
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
        _ => None,
    }
}
