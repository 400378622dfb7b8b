//! The link-local addresses of sandboxes.
//!
//! A sandbox owns the link-local address that is derived from its MAC address. It may use others, such as random ones (RFC 7217),
//! which it announces by duplicate address detection. The first endpoint of a network that uses such an address owns it as
//! long as it is among the latest [`LINK_ADDRESSES`] that the endpoint has used (decision 0011).

use netpath_common::{
    addr::Addr,
    maps::{Endpoint, LINK_ADDRESSES, LinkAddresses, LinkKey, LinkOwner},
};

use crate::{context::Context, maps, stage::stage};

/// Whether a link-local address is that of the endpoint in `slot`. An address without owner becomes the endpoint's.
#[inline(always)]
pub fn is_own(context: &mut Context, slot: u32, endpoint: &Endpoint, addr: Addr) -> bool {
    if addr == Addr::link_local_of(&endpoint.mac) {
        return true;
    }
    context.scratch.link = addr;
    owns_link_address(context, slot)
}

stage! {
    /// Whether the link-local address in [`Scratch::link`](crate::context::Scratch) is that of the endpoint in `slot`, or
    /// becomes it.
    fn owns_link_address(context: &mut Context, slot: u32) -> bool {
        match (maps::endpoint(slot), maps::link_addresses(slot)) {
            (Some(endpoint), Some(own)) => owns(context.scratch.link, slot, endpoint, own),
            _ => false,
        }
    }
}

#[inline(always)]
fn owns(addr: Addr, slot: u32, endpoint: &Endpoint, own: &mut LinkAddresses) -> bool {
    if own.generation == endpoint.generation && contains(own, addr) {
        return true;
    }
    if addr.has_mac_identifier() || maps::address_owner(&addr).is_some() {
        return false;
    }
    let key = key(addr, endpoint.network);
    if let Some(owner) = maps::link_owner(&key) {
        if is_in_use(&key, owner) {
            return false;
        }
        maps::remove_link_owner(&key);
    }
    let owner = LinkOwner {
        slot,
        generation: endpoint.generation,
    };
    if own.generation != endpoint.generation {
        start(own, endpoint);
    }
    if !maps::add_link_owner(&key, &owner) {
        return false;
    }
    let [first, second] = &mut own.addresses;
    let oldest = if own.stored & 1 == 0 { first } else { second };
    let replaced = *oldest;
    *oldest = addr;
    own.stored = own.stored.wrapping_add(1);
    release(replaced, own.network);
    true
}

#[inline(always)]
fn key(addr: Addr, network: u32) -> LinkKey {
    LinkKey {
        addr,
        network,
        pad: 0,
    }
}

/// Removes the owner of an address; `::` has none.
#[inline(always)]
fn release(addr: Addr, network: u32) {
    if !addr.is_unspecified() {
        maps::remove_link_owner(&key(addr, network));
    }
}

const _: () = assert!(
    LINK_ADDRESSES == 2,
    "`contains` and `owns_link_address` handle two addresses"
);

#[inline(always)]
fn contains(own: &LinkAddresses, addr: Addr) -> bool {
    let [first, second] = own.addresses;
    first == addr || second == addr
}

/// Whether the stored owner of an address still exists and uses it.
#[inline(always)]
fn is_in_use(key: &LinkKey, owner: LinkOwner) -> bool {
    match (
        maps::live_endpoint(owner.slot, owner.generation),
        maps::link_addresses(owner.slot),
    ) {
        (Some(endpoint), Some(own)) => {
            endpoint.network == key.network
                && own.generation == owner.generation
                && contains(own, key.addr)
        }
        _ => false,
    }
}

/// Clears the addresses of a slot for a new endpoint. The previous endpoint of the slot no longer owns its addresses.
#[inline(always)]
fn start(own: &mut LinkAddresses, endpoint: &Endpoint) {
    for addr in own.addresses {
        release(addr, own.network);
    }
    own.addresses = [Addr::UNSPECIFIED; LINK_ADDRESSES];
    own.generation = endpoint.generation;
    own.network = endpoint.network;
}
