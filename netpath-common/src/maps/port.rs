//! Published ports and their source allow-lists.

use crate::{
    addr::{Addr, Family},
    layout::layout,
    portmap,
};

layout! {
    /// Key of `ports` and `own_ports`. It contains the smallest aligned block of ports that contains the range (see
    /// [`crate::portmap`]).
    #[derive(Clone, Copy, Default, Debug)]
    pub struct PortKey(24) {
        /// Host address, or a wildcard: [`PortKey::ANY_V4`], [`PortKey::ANY_V6`] or [`PortKey::ANY`].
        pub addr: Addr,
        /// Number of the block at [`Self::level`].
        pub block: u16,
        /// Level of the block, 0 to 16: the block has `2^level` ports.
        pub level: u8,
        /// Transport protocol.
        pub protocol: u8,
        /// `own_ports`: slot of the endpoint whose ports the block contains. `ports`: zero.
        pub endpoint: u32,
    }
}

impl PortKey {
    /// Wildcard for every address of the node.
    pub const ANY: Addr = Addr::UNSPECIFIED;
    /// Wildcard for every IPv4 address of the node: `0.0.0.0`.
    pub const ANY_V4: Addr = Addr::from_raw_v4(0);
    /// Wildcard for every IPv6 address of the node: `100::`, an address of the discard prefix (RFC 6666), because `::`
    /// is the wildcard for both families.
    pub const ANY_V6: Addr = Addr::from_octets([1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    /// The address that means every address of a family.
    #[inline(always)]
    pub const fn any_of(family: Family) -> Addr {
        match family {
            Family::V4 => Self::ANY_V4,
            Family::V6 => Self::ANY_V6,
        }
    }

    /// The key of a range.
    #[inline(always)]
    pub const fn of_range(addr: Addr, protocol: u8, first: u16, last: u16) -> Self {
        Self::at_level(addr, protocol, first, portmap::level(first, last))
    }

    /// The key of a range at `level` that contains `port`.
    #[inline(always)]
    pub const fn at_level(addr: Addr, protocol: u8, port: u16, level: u8) -> Self {
        Self {
            addr,
            block: portmap::block(port, level),
            level,
            protocol,
            endpoint: 0,
        }
    }

    /// The key of `own_ports` with the same address and block, for the ports of the endpoint in a slot.
    #[inline(always)]
    pub const fn of_endpoint(mut self, slot: u32) -> Self {
        self.endpoint = slot;
        self
    }
}

impl PartialEq for PortKey {
    fn eq(&self, other: &Self) -> bool {
        self.addr == other.addr
            && self.block == other.block
            && self.level == other.level
            && self.protocol == other.protocol
            && self.endpoint == other.endpoint
    }
}

impl Eq for PortKey {}

layout! {
    /// A published range. Written by the daemon.
    ///
    /// In `ports`, a range of host ports leads to ports of an endpoint. In `own_ports`, a range of an endpoint's ports leads
    /// to the host ports that are published for them.
    #[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
    pub struct PublishedRange(20) {
        /// First port of the range.
        pub first: u16,
        /// Last port of the range.
        pub last: u16,
        /// The port that [`Self::first`] leads to; later ports lead to the ports after it, in order.
        pub port: u16,
        /// In `ports`: [`Self::HELD_BY_ENGINE`]; in `own_ports` zero.
        pub flags: u16,
        /// Slot of the endpoint.
        pub endpoint: u32,
        /// Generation of that slot.
        pub generation: u32,
        /// List in `allow`; 0 permits every source, and in `own_ports`.
        pub allow: u32,
    }
}

impl PublishedRange {
    /// A container engine binds the ports of the range with sockets of its own, so the bind programs permit it.
    pub const HELD_BY_ENGINE: u16 = 1;
}
