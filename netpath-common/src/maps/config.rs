//! What the programs must know of the node.

use crate::flow::Timers;

/// The node's settings; one entry.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// `SO_NETNS_COOKIE` of the node's network namespace: the socket programs act for no other.
    pub netns_cookie: u64,
    /// Random, chosen once: makes external ports unpredictable.
    pub secret: u64,
    /// Random, chosen once: makes identifications of fragmented datagrams unpredictable. Not the secret of the ports, which
    /// whoever sees many of those would learn.
    pub fragment_key: u64,
    /// Idle limits, for taking over flows that are over while the daemon is down.
    pub timers: Timers,
    /// Mask of block levels that entries of `ports` with an exact host address use.
    pub exact_levels: u32,
    /// The same for entries that hold for every address of one family.
    pub family_levels: u32,
    /// The same for entries that hold for every address.
    pub any_levels: u32,
    /// Number of places in `half_open`, less one (a power of two).
    pub half_open_mask: u32,
    /// Number of places in `flow_index`, less one (a power of two).
    pub flow_index_mask: u32,
    /// Flags that the running kernel's `bpf_fib_lookup` knows for finding a next hop.
    pub route_flags: u32,
    /// The same for finding a source address; 0 below Linux 6.7, where the uplink's own address is used.
    pub source_flags: u32,
    /// `BPF_F_IPV6` if the running kernel's `bpf_l4_csum_replace` knows it (Linux 6.16), else 0: the programs then correct
    /// a complete checksum themselves.
    pub checksum_v6_flag: u32,
    /// First port of the range that SNAT chooses from.
    pub snat_first: u16,
    /// Last port of that range.
    pub snat_last: u16,
    /// Flows that one sandbox may have on each of its networks.
    pub flows_per_sandbox: u32,
    /// Coarse monotonic nanoseconds of the daemon's last sweep; 0 if there was none.
    pub swept: u64,
}

/// A daemon that has not swept for so long is taken to be down. Nanoseconds; twice the longest pause between sweeps.
pub const SWEEP_PATIENCE: u64 = 60_000_000_000;

/// UDP port of the tunnels between nodes (RFC 7348 §5). An answer that came to it would be taken for a tunnelled frame,
/// so it is no source port, and no sandbox may send to it.
pub const VXLAN_PORT: u16 = 4789;

/// What a device is to netpath.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Role {
    /// The host's end of an endpoint; [`Device::index`] is its slot.
    Endpoint = 1,
    /// A way out; [`Device::index`] is unused.
    Uplink = 2,
}

/// An interface of the node's namespace that programs are attached to.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Device {
    /// A [`Role`].
    pub role: u32,
    /// Meaning depends on the role.
    pub index: u32,
    /// Largest network-layer packet in bytes.
    pub mtu: u32,
    /// Zero.
    pub pad: u32,
    /// Uplinks: the source address for IPv4 when the route names none; unspecified if there is none.
    pub v4: crate::addr::Addr,
    /// The same for IPv6.
    pub v6: crate::addr::Addr,
}
