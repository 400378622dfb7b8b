//! Link-local addresses of endpoints.

use crate::{addr::Addr, layout::layout};

/// Number of link-local addresses that one endpoint may use besides the one that is derived from its MAC address.
pub const LINK_ADDRESSES: usize = 2;

layout! {
    /// Key of `link_owners`: a link-local address in a network.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct LinkKey(24) {
        /// The address.
        pub addr: Addr,
        /// Index of the network.
        pub network: u32,
        /// Padding, always zero.
        pub pad: u32,
    }
}

layout! {
    /// The endpoint that uses a link-local address. Written by the programs. Valid only while the entry of the slot in
    /// `link_addresses` contains the address.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct LinkOwner(8) {
        /// Slot of the endpoint.
        pub slot: u32,
        /// Generation of the slot.
        pub generation: u32,
    }
}

layout! {
    /// The link-local addresses that an endpoint has used, by slot. Written by the programs.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct LinkAddresses(48) {
        /// Generation of the slot.
        pub generation: u32,
        /// Index of the network.
        pub network: u32,
        /// Number of addresses that were stored; the next one replaces the oldest.
        pub stored: u32,
        /// Padding, always zero.
        pub pad: u32,
        /// The addresses; `::` if unused.
        pub addresses: [Addr; LINK_ADDRESSES],
    }
}
