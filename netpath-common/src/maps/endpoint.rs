//! Endpoints, networks, and the owners of addresses.

use super::Text;
use crate::{
    addr::{Addr, Family, MacAddr},
    layout::layout,
};

/// Flag of a network: no external access and no published ports.
pub const INTERNAL: u32 = 1 << 0;
/// Flag of a network: its endpoints may not exchange packets.
pub const ICC_OFF: u32 = 1 << 1;
/// Flag of a network: outbound flows get an address of the node as source.
pub const MASQUERADE: u32 = 1 << 2;
/// Flag of a network: gateway mode `routed`. Published ports are reachable on the endpoint's own address.
pub const ROUTED: u32 = 1 << 3;
/// Flag of an endpoint: its sandbox has endpoints in several networks.
pub const MULTIHOMED: u32 = 1 << 4;
/// Flag of an endpoint: its sandbox forwards packets for others, with source and destination addresses that are not its own.
pub const FORWARDING: u32 = 1 << 5;
/// Flag of a network: an overlay, whose sandboxes may be on other nodes.
pub const OVERLAY: u32 = 1 << 6;

layout! {
    /// An endpoint, by slot. Written by the daemon.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct Endpoint(184) {
        /// Interface index of the host interface; 0 if the slot is free.
        pub ifindex: u32,
        /// Incremented when the slot is assigned to another endpoint. Flows of other generations have expired.
        pub generation: u32,
        /// Index of its network.
        pub network: u32,
        /// Flags of its network, [`MULTIHOMED`] and [`FORWARDING`].
        pub flags: u32,
        /// Interface index of its network's bridge.
        pub bridge: u32,
        /// Largest network-layer packet in bytes.
        pub mtu: u32,
        /// MAC address of the sandbox.
        pub mac: MacAddr,
        /// MAC address of the bridge: the source of routed packets.
        pub gateway_mac: MacAddr,
        /// Slot of the next endpoint of a sandbox with [`FORWARDING`]; the last one leads to the first. 0 if there is no other.
        pub next: u32,
        /// Limit of each direction in bits per second; 0 if there is none.
        pub rate: u64,
        /// Burst in nanoseconds: after a pause, the sandbox may send at once the bytes that its rate permits in this time.
        pub burst: u64,
        /// IPv4 address; `::` if it has none.
        pub v4: Addr,
        /// IPv6 address; `::` if it has none.
        pub v6: Addr,
        /// IPv4 gateway of the network; `::` if it has none.
        pub gateway_v4: Addr,
        /// IPv6 gateway of the network; `::` if it has none.
        pub gateway_v6: Addr,
        /// Name of the sandbox.
        pub sandbox: Text,
    }
}

impl Endpoint {
    /// Address of the endpoint; `::` if it has none of this family.
    #[inline(always)]
    pub fn address(&self, family: Family) -> Addr {
        match family {
            Family::V4 => self.v4,
            Family::V6 => self.v6,
        }
    }

    /// Address of the gateway; `::` if there is none of this family.
    #[inline(always)]
    pub fn gateway(&self, family: Family) -> Addr {
        match family {
            Family::V4 => self.gateway_v4,
            Family::V6 => self.gateway_v6,
        }
    }

    /// Whether its network has no external access and no published ports.
    #[inline(always)]
    pub const fn is_internal(&self) -> bool {
        self.flags & INTERNAL != 0
    }

    /// Whether its network is in gateway mode `routed`.
    #[inline(always)]
    pub const fn is_routed(&self) -> bool {
        self.flags & ROUTED != 0
    }

    /// Whether its network is an overlay.
    #[inline(always)]
    pub const fn is_overlay(&self) -> bool {
        self.flags & OVERLAY != 0
    }

    /// Whether its sandbox has endpoints in several networks.
    #[inline(always)]
    pub const fn is_multihomed(&self) -> bool {
        self.flags & MULTIHOMED != 0
    }

    /// Whether it has a rate.
    #[inline(always)]
    pub const fn is_limited(&self) -> bool {
        self.rate != 0
    }

    /// Whether its sandbox forwards packets for others.
    #[inline(always)]
    pub const fn is_forwarding(&self) -> bool {
        self.flags & FORWARDING != 0
    }
}

layout! {
    /// Key of `forwarders`: the MAC address of an endpoint with [`FORWARDING`] in a network.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct ForwarderKey(12) {
        /// Index of the network.
        pub network: u32,
        /// MAC address of the sandbox.
        pub mac: MacAddr,
        /// Padding, always zero.
        pub pad: u16,
    }
}

impl ForwarderKey {
    /// The key of a MAC address in a network.
    #[inline(always)]
    pub const fn new(network: u32, mac: MacAddr) -> Self {
        Self {
            network,
            mac,
            pad: 0,
        }
    }
}

layout! {
    /// A network, by index. Written by the daemon, for dumps.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct Network(76) {
        /// Its flags.
        pub flags: u32,
        /// Interface index of its bridge.
        pub bridge: u32,
        /// Identifier of an overlay network in tunnel packets; 0 for another network.
        pub vni: u32,
        /// Its name.
        pub name: Text,
    }
}

/// The owner of an address of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOwner {
    /// The node itself.
    Host,
    /// The endpoint in this slot.
    Endpoint(u32),
    /// The gateway of a network: an address of the node that only the network's sandboxes use.
    Gateway,
}

const OWNER_HOST: u32 = 1;
const OWNER_ENDPOINT: u32 = 2;
const OWNER_GATEWAY: u32 = 3;

layout! {
    /// An [`AddressOwner`] as the map stores it. Written by the daemon.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct AddressRecord(8) {
        owner: u32,
        slot: u32,
    }
}

impl AddressRecord {
    /// The record of an owner.
    pub const fn new(owner: AddressOwner) -> Self {
        let (owner, slot) = match owner {
            AddressOwner::Host => (OWNER_HOST, 0),
            AddressOwner::Endpoint(slot) => (OWNER_ENDPOINT, slot),
            AddressOwner::Gateway => (OWNER_GATEWAY, 0),
        };
        Self { owner, slot }
    }

    /// The owner. A number that the daemon does not write is read as [`AddressOwner::Gateway`], the most restricted
    /// owner.
    #[inline(always)]
    pub const fn owner(self) -> AddressOwner {
        match self.owner {
            OWNER_HOST => AddressOwner::Host,
            OWNER_ENDPOINT => AddressOwner::Endpoint(self.slot),
            _ => AddressOwner::Gateway,
        }
    }
}

layout! {
    /// A subnet of a network. Written by the daemon.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct Subnet(16) {
        /// Index of the network.
        pub network: u32,
        /// Flags of the network.
        pub flags: u32,
        /// Directed broadcast address (RFC 919), as [`Addr::raw_v4`]; 0 if the subnet has none.
        pub broadcast: u32,
        /// Padding, always zero.
        pub pad: u32,
    }
}

impl Subnet {
    /// Whether its network is in gateway mode `routed`.
    #[inline(always)]
    pub const fn is_routed(&self) -> bool {
        self.flags & ROUTED != 0
    }
}
