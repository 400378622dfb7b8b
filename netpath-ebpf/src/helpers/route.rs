//! Questions to the routing table and their answers.

use crate::parse::Parsed;

/// A question about a packet, as if it arrived at a device.
pub struct RouteQuery<'a> {
    /// The packet.
    pub parsed: &'a Parsed,
    /// Interface index of the device.
    pub ifindex: u32,
    /// Flags of `bpf_fib_lookup` ([`netpath_common::maps::Config::route_flags`], `source_flags`).
    pub flags: u32,
}

/// Where a packet is sent.
#[derive(Clone, Copy)]
pub struct NextHop {
    /// Address family of the next hop: `AF_INET` or `AF_INET6`.
    pub family: u8,
    /// Interface index of the outgoing device.
    pub ifindex: u32,
    /// Address of the next hop in network order; IPv4 uses the first word.
    pub address: [u32; 4],
}

/// The answer of the routing table.
#[derive(Clone, Copy)]
pub enum Route {
    /// The packet is forwarded.
    Found(NextHop),
    /// The packet is larger than the MTU of the route or the device.
    TooBig(NextHop),
    /// No route, or a route that rejects the packet.
    Unreachable,
    /// The destination is the node itself.
    Local,
    /// The routing table cannot be asked.
    Failed,
}
