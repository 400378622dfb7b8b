//! Classification of destination addresses.

use netpath_common::{
    addr::Addr,
    maps::{AddressOwner, Endpoint},
};

use crate::maps;

/// The class of a destination address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The address of the endpoint in this slot.
    Sandbox(u32),
    /// An address of the node.
    Host,
    /// The gateway of a network.
    Gateway,
    /// An unused address in a subnet of a network.
    Subnet,
    /// Multicast, broadcast or IPv6 link-local: not routed.
    Link,
    /// Any other address.
    Outside,
}

/// Whether [`classify`] looks up the subnets of networks, which costs more than the lookup of an address.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Subnets {
    /// Subnets are looked up.
    LookUp,
    /// Subnets are not looked up; an unused address in a subnet is [`Destination::Outside`].
    Ignore,
}

/// The class of a destination address.
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

/// Whether packets to an address are not routed.
#[inline(always)]
pub fn stays_on_link(destination: Addr) -> bool {
    destination.is_multicast_or_broadcast() || destination.is_link_local()
}

/// Whether an address is in a subnet of a network and is not an address of the node.
#[inline(always)]
pub fn is_in_network(addr: Addr) -> bool {
    match maps::address_owner(&addr) {
        Some(owner) => matches!(owner, AddressOwner::Endpoint(_)),
        None => maps::subnet(addr).is_some(),
    }
}

/// Whether an address is an address of the node or in a subnet of a network.
#[inline(always)]
pub fn is_known(addr: Addr) -> bool {
    maps::address_owner(&addr).is_some() || maps::subnet(addr).is_some()
}

/// Whether an address belongs to a network in gateway mode `routed`, whose addresses are used outside the node.
#[inline(always)]
pub fn is_in_routed_network(addr: Addr) -> bool {
    match maps::subnet(addr) {
        Some(subnet) => subnet.is_routed(),
        None => false,
    }
}

/// Whether an address, to which a packet for a sandbox was translated, is beyond that sandbox.
#[inline(always)]
pub fn is_beyond(endpoint: &Endpoint, addr: &Addr) -> bool {
    endpoint.is_forwarding() && maps::address_owner(addr).is_none()
}
