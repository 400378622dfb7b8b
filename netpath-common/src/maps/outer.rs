//! Outer tuples that belong neither to a flow nor to a connected socket: those of the node's unconnected sockets, and those
//! of other NATs on the node.

use crate::{
    flow::{ICMP, ICMPV6, TCP, Timers, UDP},
    layout::layout,
};

layout! {
    /// An outer tuple in use, by the tuple of its replies. Written by the programs; expired ones are removed by the daemon.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct OuterTuple(16) {
        /// Expiry, in coarse monotonic nanoseconds.
        pub expires: u64,
        /// 1 if a TCP segment with FIN or RST was sent since the last SYN, otherwise 0.
        pub ended: u32,
        /// Padding, always zero.
        pub pad: u32,
    }
}

impl OuterTuple {
    /// How long a tuple of `protocol` is in use after a packet, in nanoseconds. `opens` is whether the packet opens a
    /// connection, `ended` as [`Self::ended`].
    #[inline(always)]
    pub const fn limit(timers: &Timers, protocol: u8, opens: bool, ended: bool) -> u64 {
        match protocol {
            TCP if ended => timers.tcp_closing,
            TCP if opens => timers.tcp_syn_sent,
            TCP => timers.tcp_established,
            UDP => timers.udp_established,
            ICMP | ICMPV6 => timers.icmp,
            _ => timers.other,
        }
    }
}

/// Index in `avoided_ports` of a port of TCP or UDP.
#[inline(always)]
pub const fn avoided_index(protocol: u8, port: u16) -> u32 {
    let base = if protocol == UDP { 1 << 16 } else { 0 };
    base + port as u32
}
