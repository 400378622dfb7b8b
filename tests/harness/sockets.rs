//! Sockets of tests.

use std::{
    net::{SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    time::Duration,
};

use nix::sys::{
    socket::{self, AddressFamily, SockFlag, SockType, SockaddrStorage, sockopt},
    time::{TimeVal, TimeValLike as _},
};

/// Connects from the namespace of the calling thread and from an address and port.
///
/// # Errors
/// If the port is in use, or there is no connection within the limit, which counts in whole seconds.
pub fn connect_from(own: SocketAddr, to: SocketAddr, limit: Duration) -> nix::Result<TcpStream> {
    let family = match to {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    };
    let limit = TimeVal::seconds(limit.as_secs().cast_signed());
    let socket = socket::socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    socket::setsockopt(&socket, sockopt::ReuseAddr, &true)?;
    socket::setsockopt(&socket, sockopt::SendTimeout, &limit)?;
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(own))?;
    socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to))?;
    Ok(socket.into())
}
