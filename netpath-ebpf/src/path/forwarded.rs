//! Packets that a sandbox with the option `forwarding` forwards for others: a gateway or a VPN router of its networks.
//!
//! ```text
//! sibling            ─► to the MAC address of the forwarding sandbox                      to_forwarder ─► forwarding sandbox
//! forwarding sandbox ─► from a sandbox of its networks, or from a host beyond it          check_source ─► sibling, or outside
//! ```
//!
//! A packet from a host beyond the sandbox, whose address netpath does not know, never reaches the stack of the node: the stack
//! would send it, or an answer to it, by the routes of the node.

use netpath_common::{
    addr::{Addr, MacAddr},
    maps::{AddressOwner, Endpoint, ForwarderKey, ICC_OFF, MASQUERADE, ROUTED},
    reason::{Reason, Verdict},
};

use super::{deliver, destination::stays_on_link, forward, guard};
use crate::{
    context::Context,
    helpers::{Continue, Step, repeat},
    maps,
    packet::Packet,
    stage::stage,
};

/// Largest number of endpoints of one sandbox that are searched for a network.
const MAX_ENDPOINTS_OF_SANDBOX: u32 = 1_024;

stage! {
    /// Checks a source address that is not that of the endpoint in `slot`, whose sandbox forwards packets. It may belong to a
    /// sandbox of one of its networks, or to a host that netpath does not know, which `scratch.is_beyond` records.
    ///
    /// # Errors
    /// The reason for the verdict if the address is another one, or if no router forwards packets to such a destination, as to
    /// multicast. Two sandboxes of the network of the endpoint reach each other directly, so such a source is forged.
    pub fn check_source(context: &mut Context, slot: u32) -> Result<(), Reason> {
        let Some(endpoint) = maps::endpoint(slot) else {
            return Err(Reason::EndpointGone);
        };
        let (source, dst) = (context.parsed.key.src, context.parsed.key.dst);
        if source.is_loopback()
            || source.is_unspecified()
            || stays_on_link(source)
            || stays_on_link(dst)
            || guard::is_broadcast(dst, endpoint)
        {
            return Err(Reason::Spoofed);
        }
        match network_of(&source) {
            Ok(Some(network)) if network == endpoint.network => {
                if network_of(&dst) == Ok(Some(network)) {
                    return Err(Reason::Spoofed);
                }
                Ok(())
            }
            Ok(Some(network)) if is_in_network(slot, endpoint, network) => Ok(()),
            Ok(None) if maps::subnet(source).is_none() => {
                context.scratch.is_beyond = true;
                Ok(())
            }
            Ok(_) | Err(()) => Err(Reason::Spoofed),
        }
    }
}

/// The network of the sandbox with an address; `None` if it is no address of the node or of a sandbox.
///
/// # Errors
/// It is an address of the node, or of an endpoint that was removed.
#[inline(always)]
fn network_of(addr: &Addr) -> Result<Option<u32>, ()> {
    match maps::address_owner(addr) {
        Some(AddressOwner::Endpoint(slot)) => match maps::endpoint(slot) {
            Some(endpoint) if endpoint.ifindex != 0 => Ok(Some(endpoint.network)),
            _ => Err(()),
        },
        Some(AddressOwner::Host | AddressOwner::Gateway) => Err(()),
        None => Ok(None),
    }
}

/// Whether the sandbox with the endpoint in `slot`, which forwards packets, has an endpoint in a network.
#[inline(always)]
fn is_in_network(slot: u32, endpoint: &Endpoint, network: u32) -> bool {
    if endpoint.network == network {
        return true;
    }
    let mut ring = Ring {
        next: endpoint.next,
        first: slot,
        network,
        found: false,
    };
    repeat(MAX_ENDPOINTS_OF_SANDBOX, &mut ring);
    ring.found
}

/// A search through the endpoints of a sandbox.
#[repr(C)]
struct Ring {
    next: u32,
    first: u32,
    network: u32,
    found: bool,
}

impl Step for Ring {
    #[inline(always)]
    fn step(&mut self, _number: u32) -> Continue {
        if self.next == 0 || self.next == self.first {
            return Continue::No;
        }
        let Some(endpoint) = maps::endpoint(self.next) else {
            return Continue::No;
        };
        if endpoint.ifindex == 0 {
            return Continue::No;
        }
        if endpoint.network == self.network {
            self.found = true;
            return Continue::No;
        }
        self.next = endpoint.next;
        Continue::Yes
    }
}

stage! {
    /// Delivers a packet of the endpoint in `slot` to the sandbox of the same network that its MAC address names, if that sandbox
    /// forwards packets. `None` if there is none, or if it has no endpoint in the network of the sandbox that has the destination
    /// address.
    pub fn to_forwarder(context: &mut Context, slot: u32) -> Option<Reason> {
        let sender = maps::endpoint(slot)?;
        let mac = MacAddr(*context.skb.header::<[u8; 6]>(0)?);
        let router = maps::forwarder(&ForwarderKey::new(sender.network, mac))?;
        let receiver = maps::endpoint(router)?;
        if router == slot
            || receiver.ifindex == 0
            || receiver.network != sender.network
            || !receiver.is_forwarding()
        {
            return None;
        }
        if let Ok(Some(network)) = network_of(&context.parsed.key.dst)
            && !is_in_network(router, receiver, network)
        {
            return None;
        }
        if sender.flags & ICC_OFF != 0 {
            return Some(Reason::IccOff);
        }
        Some(deliver::bridged(&mut context.skb, receiver))
    }
}

/// Whether a packet to the outside may leave the node. A packet from beyond a sandbox may leave only if it is translated before
/// it is redirected, because nothing translates it afterwards.
#[inline(always)]
pub fn may_leave(context: &Context, endpoint: &Endpoint) -> bool {
    !context.scratch.is_beyond
        || (forward::is_translated_here(context)
            && endpoint.flags & (MASQUERADE | ROUTED) == MASQUERADE)
}

/// The reason for the verdict: [`Reason::Forwarded`] if `reason` would pass a packet from beyond a sandbox to the stack of the
/// node, otherwise `reason`.
#[inline(always)]
pub fn keep_from_stack(context: &Context, reason: Reason) -> Reason {
    if context.scratch.is_beyond && reason.verdict() == Verdict::Pass {
        Reason::Forwarded
    } else {
        reason
    }
}
