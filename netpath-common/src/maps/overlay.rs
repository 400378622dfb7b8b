//! Overlay networks: the other nodes, and the addresses that are on them.

use crate::{
    addr::{Addr, MacAddr},
    layout::layout,
};

layout! {
    /// An underlay address of another node. Written by the daemon. A tunnel packet from any other address is dropped.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct Peer(16) {
        /// The address that identifies the node in `remotes`: one of its underlay addresses.
        pub address: Addr,
    }
}

layout! {
    /// Key of `remotes`: a prefix of a network and an address.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct RemoteKey(24) {
        /// Length of the prefix in bits, including the 32 bits of the network.
        pub length: u32,
        /// Index of the network.
        pub network: u32,
        /// The address.
        pub address: Addr,
    }
}

impl RemoteKey {
    /// The key of a prefix; `length` counts the bits of the address, in v4-mapped form for IPv4.
    #[inline(always)]
    pub const fn new(network: u32, address: Addr, length: u32) -> Self {
        Self {
            length: 32 + length,
            network,
            address,
        }
    }

    /// The key that finds the longest prefix that contains an address.
    #[inline(always)]
    pub const fn of_address(network: u32, address: Addr) -> Self {
        Self::new(network, address, 128)
    }
}

layout! {
    /// A part of an overlay network that is on another node: a block of addresses, or one address. Written by the daemon; the
    /// route decision is written by the programs.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct Remote(40) {
        /// [`Peer::address`] of the node, to which packets are sent.
        pub peer: Addr,
        /// Identifier of the network in tunnel packets.
        pub vni: u32,
        /// [`RemoteKey::length`] of the entry: shows user space whether a lookup has found this entry or a shorter prefix.
        pub length: u32,
        /// MAC address of the sandbox with the address; zero if it follows from the address ([`MacAddr::of_address`]).
        pub mac: MacAddr,
        /// Key of the next hop in `next_hops`; 0 if the route must be looked up.
        pub next_hop: u16,
        /// Largest network-layer packet in bytes that the route takes.
        pub mtu: u16,
        /// Padding, always zero.
        pub pad: u16,
        /// When the route was looked up, in units of [`DECISION_TICK`](super::DECISION_TICK).
        pub decided: u32,
    }
}

impl Remote {
    /// MAC address of the sandbox with an address in the prefix.
    #[inline(always)]
    pub const fn mac_of(&self, address: Addr) -> MacAddr {
        let [a, b, c, d, e, f] = self.mac.0;
        if a | b | c | d | e | f == 0 {
            MacAddr::of_address(address)
        } else {
            self.mac
        }
    }
}
