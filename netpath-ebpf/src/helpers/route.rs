//! Arguments and results of route lookups.

use crate::parse::Parsed;

/// A route lookup for a packet as if it arrived at a device.
pub struct RouteQuery<'a> {
    /// The packet.
    pub parsed: &'a Parsed,
    /// Interface index of that device.
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

/// The result of a route lookup.
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
    /// The lookup failed for another reason.
    Failed,
}
