//! Where the sockets of host processes were redirected.

use crate::addr::{Addr, Be16};

/// A socket and the address its packets really go to.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct SocketPeer {
    /// Socket cookie.
    pub cookie: u64,
    /// The sandbox's address.
    pub addr: Addr,
    /// The sandbox's port.
    pub port: Be16,
    /// Zero.
    pub pad: [u16; 3],
}

/// The address that the process asked for.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct SocketAddr {
    /// Address.
    pub addr: Addr,
    /// Port.
    pub port: Be16,
    /// Zero.
    pub pad: [u16; 3],
}
