//! Routes of packets that leave the node.

use crate::layout::layout;

/// Unit of the times of route decisions: 2^20 coarse monotonic nanoseconds, about a millisecond. A 32-bit time wraps around
/// after 52 days.
pub const DECISION_TICK: u32 = 20;
/// Ticks after which a route decision is made again, so that changes that no daemon reports take effect: one second.
pub const DECISION_AGE: u32 = 953;

layout! {
    /// A next hop: the outgoing device, and the router if there is one. Written by the programs, and never changed.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct NextHop(24) {
        /// Interface index of the outgoing device.
        pub ifindex: u32,
        /// Address family of the router: `AF_INET` or `AF_INET6`. 0 if packets are sent to their destination directly.
        pub family: u32,
        /// Address of the router in network order; IPv4 uses the first word.
        pub address: [u32; 4],
    }
}
