//! Settings of the node, and its devices.

use crate::{
    addr::{Addr, Family},
    flow::Timers,
    layout::layout,
};

layout! {
    /// Settings of the node; one entry. Written by the daemon.
    #[derive(Clone, Copy, Debug)]
    pub struct Config(232) {
        /// `SO_NETNS_COOKIE` of the node's network namespace. The socket programs ignore sockets of other namespaces.
        pub netns_cookie: u64,
        /// Random, chosen when the map is created. Key of the hash that selects external ports.
        pub secret: u64,
        /// Random, chosen when the map is created. Key of the hash that selects identifications of fragmented
        /// datagrams. Separate from `secret`, because an observer of many identifications could compute the key.
        pub fragment_key: u64,
        /// Idle limits. The programs use them to remove expired flows while no daemon runs.
        pub timers: Timers,
        /// Bit mask of the block levels that entries of `ports` with an exact host address have.
        pub exact_levels: u32,
        /// Bit mask of the block levels of entries for every address of one family.
        pub family_levels: u32,
        /// Bit mask of the block levels of entries for every address.
        pub any_levels: u32,
        /// As [`Self::exact_levels`], for `own_ports`.
        pub own_exact_levels: u32,
        /// As [`Self::family_levels`], for `own_ports`.
        pub own_family_levels: u32,
        /// As [`Self::any_levels`], for `own_ports`.
        pub own_any_levels: u32,
        /// Limit of the half-open flows of one endpoint and direction, minus one; the limit is a power of two. The ring of
        /// direction `d` (see [`Usage`](super::Usage)) of the endpoint in slot `s` has as many elements in `half_open` and starts at
        /// element `(2 * s + d) * limit`.
        pub half_open_mask: u32,
        /// Number of slots of `flow_index`, minus one; the number of slots is a power of two.
        pub flow_index_mask: u32,
        /// Flags that the running kernel supports for `bpf_fib_lookup` of a next hop.
        pub route_flags: u32,
        /// `route_flags`, and the flag for the source address if the kernel supports it (Linux 6.7). Otherwise the address of
        /// the uplink is used.
        pub source_flags: u32,
        /// `BPF_F_IPV6` if the running kernel's `bpf_l4_csum_replace` supports it (Linux 6.16), else 0: the programs
        /// then correct a complete checksum themselves.
        pub checksum_v6_flag: u32,
        /// Quota of TCP flows and sustained flows of one sandbox on each of its networks.
        pub flows_per_sandbox: u32,
        /// The setting `half_open`. The limit in `half_open_mask` is lower if the rings of all endpoints do not fit otherwise.
        pub half_open_limit: u32,
        /// Share of the table: if an endpoint has more flows when the table is full, those that are not sustained are
        /// evicted for new flows of other endpoints.
        pub fair_share: u32,
        /// Coarse monotonic nanoseconds of the last change of rules, routes, addresses or links that the daemon has seen.
        /// Route decisions that were made before or at that time are invalid.
        pub routes_changed: u64,
        /// Coarse monotonic nanoseconds of the daemon's last sweep; 0 before the first sweep.
        pub swept: u64,
        /// Number of entries of `denied`. If there are none, the programs look up no address.
        pub denied: u32,
        /// UDP port of tunnels between nodes; 0 if the node has no overlay network.
        pub tunnel_port: u32,
        /// The address of this node in IPv4 tunnels; `::` if it has none.
        pub underlay_v4: Addr,
        /// The address of this node in IPv6 tunnels; `::` if it has none.
        pub underlay_v6: Addr,
    }
}

impl Config {
    /// The address of this node in tunnels of a family; `::` if it has none.
    #[inline(always)]
    pub fn underlay(&self, family: Family) -> Addr {
        match family {
            Family::V4 => self.underlay_v4,
            Family::V6 => self.underlay_v6,
        }
    }

    /// Whether a UDP port is that of tunnels between nodes.
    #[inline(always)]
    pub const fn is_tunnel_port(&self, port: u16) -> bool {
        port != 0 && port as u32 == self.tunnel_port
    }
}

/// Time since the last sweep, in nanoseconds, after which the programs assume that no daemon runs: twice the longest
/// interval between sweeps.
pub const SWEEP_TIMEOUT: u64 = 60_000_000_000;

/// Default UDP port of tunnels between nodes (RFC 7348 §5). A reply to this port would be decapsulated, so SNAT does not use it
/// as source port, and sandboxes may not send to it.
pub const VXLAN_PORT: u16 = 4789;

/// What a device is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// The host interface of an endpoint; [`Device::index`] is the slot of the endpoint.
    Endpoint = 1,
    /// An interface that serves published ports, and through which sandboxes send.
    Uplink = 2,
    /// An interface that the setting `uplink` excludes. Flows of published ports are not opened there, and packets of
    /// sandboxes are not sent there.
    Guarded = 3,
}

layout! {
    /// A device of the node's namespace that programs are attached to. Written by the daemon.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct Device(48) {
        /// A [`Role`].
        pub role: u32,
        /// Slot of the endpoint; 0 for an interface of the node.
        pub index: u32,
        /// Largest network-layer packet in bytes.
        pub mtu: u32,
        /// A [`LinkHeader`](crate::hook::LinkHeader); 0 for an endpoint. Each kind has programs of its own.
        pub header: u32,
        /// Interfaces: source address for IPv4 if the route has none; unspecified without an IPv4 address.
        pub v4: Addr,
        /// Interfaces: source address for IPv6 if the route has none; unspecified without an IPv6 address.
        pub v6: Addr,
    }
}

impl Device {
    /// Source address of outbound flows if the route has none; unspecified if there is none of this family.
    #[inline(always)]
    pub fn address(&self, family: Family) -> Addr {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Whether this is an interface that serves published ports, and through which sandboxes send.
    #[inline(always)]
    pub const fn is_uplink(&self) -> bool {
        self.role == Role::Uplink as u32
    }

    /// Whether this is an interface of the node.
    #[inline(always)]
    pub const fn is_interface(&self) -> bool {
        self.role == Role::Uplink as u32 || self.role == Role::Guarded as u32
    }

    /// Whether this is the host interface of an endpoint.
    #[inline(always)]
    pub const fn is_endpoint(&self) -> bool {
        self.role == Role::Endpoint as u32
    }
}
