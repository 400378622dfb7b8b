//! Arguments and results of route lookups.

use netpath_common::{addr::Addr, maps::NextHop};

use crate::parse::Parsed;

/// `AF_INET`.
pub const AF_INET: u32 = 2;
/// `AF_INET6`.
pub const AF_INET6: u32 = 10;

/// A route lookup for a packet as if it arrived at a device.
pub struct RouteQuery<'a> {
    /// The packet.
    pub parsed: &'a Parsed,
    /// Source address of the lookup. It differs from the packet's for a reply, which is routed like a reply of the node.
    pub source: Addr,
    /// Interface index of that device.
    pub ifindex: u32,
    /// Flags of `bpf_fib_lookup` ([`netpath_common::maps::Config::route_flags`], `source_flags`).
    pub flags: u32,
}

/// Where a packet is sent. Valid after a lookup with the result [`Lookup::Found`] or [`Lookup::TooBig`].
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub struct Route {
    /// Outgoing device, and the address of the next hop, which is the destination if there is no router.
    pub hop: NextHop,
    /// Largest network-layer packet, in bytes, that the route permits according to the lookup.
    pub mtu: u32,
    /// The source address that the route prefers; unspecified if it names none or the lookup did not ask for it.
    pub source: Addr,
}

/// The result of a route lookup.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Lookup {
    /// The packet is forwarded.
    Found,
    /// The packet is larger than the MTU of the route or the device.
    TooBig,
    /// No route, or a route that rejects the packet.
    #[default]
    Unreachable,
    /// The destination is the node itself.
    Local,
    /// The lookup failed for another reason.
    Failed,
}
