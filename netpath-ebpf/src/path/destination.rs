//! What a destination address is.

use netpath_common::{addr::Addr, maps::AddressOwner};

use crate::maps;

/// What a destination address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The address of the endpoint in this slot.
    Sandbox(u32),
    /// An address of the node.
    Host,
    /// The gateway of a network.
    Gateway,
    /// An address of a network that belongs to nobody.
    Subnet,
    /// Multicast, broadcast, or an IPv6 link-local address: packets stay on the link.
    Link,
    /// Any other address.
    Outside,
}

/// Whether [`classify`] looks up the subnets of networks, which costs more than the lookup of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subnets {
    /// It does.
    LookUp,
    /// It does not; an address of [`Destination::Subnet`] is [`Destination::Outside`].
    Ignore,
}

/// What a destination address is.
#[inline(always)]
pub fn classify(destination: Addr, subnets: Subnets) -> Destination {
    if stays_on_link(destination) {
        return Destination::Link;
    }
    match maps::address_owner(&destination) {
        Some(AddressOwner::Endpoint(slot)) => Destination::Sandbox(slot),
        Some(AddressOwner::Host) => Destination::Host,
        Some(AddressOwner::Gateway) => Destination::Gateway,
        None if subnets == Subnets::LookUp && maps::subnet(destination).is_some() => {
            Destination::Subnet
        }
        None => Destination::Outside,
    }
}

/// Whether packets to an address stay on their link.
#[inline(always)]
pub fn stays_on_link(destination: Addr) -> bool {
    destination.is_multicast_or_broadcast() || destination.is_link_local()
}

/// Whether an address belongs to a network of sandboxes and not to the node.
#[inline(always)]
pub fn is_in_network(addr: Addr) -> bool {
    match maps::address_owner(&addr) {
        Some(owner) => matches!(owner, AddressOwner::Endpoint(_)),
        None => maps::subnet(addr).is_some(),
    }
}

/// Whether an address belongs to netpath or to the node.
#[inline(always)]
pub fn is_known(addr: Addr) -> bool {
    maps::address_owner(&addr).is_some() || maps::subnet(addr).is_some()
}

/// Whether an address belongs to a network in gateway mode `routed`, whose addresses are visible outside.
#[inline(always)]
pub fn is_in_routed_network(addr: Addr) -> bool {
    match maps::subnet(addr) {
        Some(subnet) => subnet.is_routed(),
        None => false,
    }
}
