//! Sockets of host processes whose destination was replaced.

use crate::{
    addr::{Addr, Be16},
    layout::layout,
};

layout! {
    /// A socket and the destination that its packets are sent to. Written by the programs.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct SocketPeer(32) {
        /// Socket cookie.
        pub cookie: u64,
        /// Address of the sandbox.
        pub addr: Addr,
        /// Port of the sandbox.
        pub port: Be16,
        /// Padding, always zero.
        pub pad: [u16; 3],
    }
}

layout! {
    /// The destination that the process requested, before its replacement. Written by the programs.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct SocketAddr(24) {
        /// Address.
        pub addr: Addr,
        /// Port.
        pub port: Be16,
        /// Padding, always zero.
        pub pad: [u16; 3],
    }
}
