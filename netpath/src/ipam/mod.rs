//! Allocation of subnets, addresses and numbers. No IO.
//!
//! Allocation uses [`Ranges`], a set of numbers that is stored as disjoint ranges. Finding a free number, allocating it
//! and releasing it take O(log n).

mod addresses;
mod blocks;
mod prefixes;
mod ranges;
mod subnets;

pub use addresses::{AddressError, Addresses};
pub use blocks::Blocks;
pub use prefixes::Prefixes;
pub use ranges::Ranges;
pub(crate) use subnets::overlap;
pub use subnets::{Pool, PoolError, choose_subnet, ula_subnet};

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

/// An address as a number in host byte order.
pub(crate) fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The address of `number` in the family of `like`; for IPv4 its low 32 bits.
pub(crate) fn address(number: u128, like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::from_bits(number as u32)),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(number)),
    }
}

/// First and last address of a prefix as numbers.
pub(crate) fn bounds(prefix: &IpNet) -> (u128, u128) {
    (number(prefix.network()), number(prefix.broadcast()))
}
