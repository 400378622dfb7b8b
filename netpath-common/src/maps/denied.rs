//! The deny list of the node.

use crate::{
    addr::{Addr, Family},
    layout::layout,
};

layout! {
    /// Key of `denied`: a prefix of the family and an address.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct DeniedKey(24) {
        /// Length of the prefix in bits, including the 32 bits of the family.
        pub length: u32,
        /// The [`Family`]. Without it, an IPv6 prefix such as `::/0` would contain IPv4 addresses, which are stored in v4-mapped
        /// form.
        pub family: u32,
        /// The address.
        pub address: Addr,
    }
}

impl DeniedKey {
    /// The key of a prefix; `length` counts the bits of the address, in v4-mapped form for IPv4.
    #[inline(always)]
    pub const fn new(family: Family, address: Addr, length: u32) -> Self {
        Self {
            length: 32 + length,
            family: family as u32,
            address,
        }
    }

    /// The key that finds the longest prefix that contains an address.
    #[inline(always)]
    pub const fn of_address(address: Addr) -> Self {
        Self::new(address.family(), address, 128)
    }
}

layout! {
    /// An entry of the deny list. Written by the daemon.
    #[derive(Clone, Copy, Default, Debug)]
    pub struct Denied(16) {
        /// Latest expiry of the entries whose prefixes contain this prefix, in coarse monotonic nanoseconds; `u64::MAX` if one of
        /// them never expires. So the longest prefix suffices to decide.
        pub until: u64,
        /// [`DeniedKey::length`] of the entry: shows user space whether a lookup has found this entry or a shorter prefix.
        pub length: u32,
        /// Padding, always zero.
        pub pad: u32,
    }
}
