//! Endpoints, networks, and which address is whose.

use super::Text;
use crate::addr::{Addr, MacAddr};

/// [`Endpoint::flags`], [`Network::flags`]: no way out and no published ports.
pub const INTERNAL: u32 = 1 << 0;
/// Endpoints of the network may not talk to each other.
pub const ICC_OFF: u32 = 1 << 1;
/// Outbound flows get the node's address.
pub const MASQUERADE: u32 = 1 << 2;
/// Gateway mode `routed`: published ports are reachable on the endpoint's own address.
pub const ROUTED: u32 = 1 << 3;

/// An endpoint, by slot.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Endpoint {
    /// Interface index of the host's end; 0 if the slot is free.
    pub ifindex: u32,
    /// Raised each time the slot gets a new endpoint; flows of other generations are over.
    pub generation: u32,
    /// Index of its network.
    pub network: u32,
    /// Flags of its network.
    pub flags: u32,
    /// Interface index of its network's bridge.
    pub bridge: u32,
    /// Largest network-layer packet in bytes.
    pub mtu: u32,
    /// The sandbox's MAC address.
    pub mac: MacAddr,
    /// The bridge's MAC address: what routed packets come from.
    pub gateway_mac: MacAddr,
    /// Zero.
    pub pad: u32,
    /// IPv4 address; `::` if it has none.
    pub v4: Addr,
    /// IPv6 address; `::` if it has none.
    pub v6: Addr,
    /// The network's IPv4 gateway; `::` if it has none.
    pub gateway_v4: Addr,
    /// The network's IPv6 gateway; `::` if it has none.
    pub gateway_v6: Addr,
    /// Name of the sandbox.
    pub sandbox: Text,
}

impl Endpoint {
    /// The endpoint's address in the family of `like`; `::` if it has none.
    #[inline(always)]
    pub fn address(&self, like: Addr) -> Addr {
        if like.is_v4() { self.v4 } else { self.v6 }
    }

    /// The gateway's address in the family of `like`; `::` if it has none.
    #[inline(always)]
    pub fn gateway(&self, like: Addr) -> Addr {
        if like.is_v4() {
            self.gateway_v4
        } else {
            self.gateway_v6
        }
    }
}

/// A network, by index.
#[derive(Clone, Copy, Default, Debug)]
#[repr(C)]
pub struct Network {
    /// Its flags.
    pub flags: u32,
    /// Interface index of its bridge.
    pub bridge: u32,
    /// Its name.
    pub name: Text,
}

/// [`Address::kind`]: an address of the node itself.
pub const ADDRESS_HOST: u32 = 1;
/// [`Address::kind`]: an endpoint's address; [`Address::slot`] is the endpoint's.
pub const ADDRESS_ENDPOINT: u32 = 2;
/// [`Address::kind`]: the gateway of one of our networks: the node's too, but known to its sandboxes only.
pub const ADDRESS_GATEWAY: u32 = 3;

/// Whose an address is.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Address {
    /// `ADDRESS_*`.
    pub kind: u32,
    /// Slot of the endpoint, or 0.
    pub slot: u32,
}

/// Key of `subnets`: the layout that `BPF_MAP_TYPE_LPM_TRIE` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(C)]
pub struct Prefix {
    /// Significant bits of the address; an IPv4 prefix counts 96 more.
    pub length: u32,
    /// Octets in network order.
    pub address: [u8; 16],
}

/// A subnet of one of our networks.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Subnet {
    /// Index of the network.
    pub network: u32,
    /// Flags of the network.
    pub flags: u32,
}
