//! Packets to an address of the node or of a sandbox, from outside or from a sandbox.
//!
//! ```text
//! established   packet of a flow · later fragment of a translated datagram · ICMP error about a flow ─► deliver
//! open          check the client ─► published port ─► new flow ─► deliver
//! ```
//!
//! The flow is looked up first, because most packets have one: here for a packet from outside, in `endpoint` for one of a
//! sandbox.

use netpath_common::{
    flow::{Kind, TCP},
    hook::Hook,
    maps::{Endpoint, ICC_OFF},
    reason::Reason,
};

use super::{
    deliver, deny,
    destination::{self, Destination, Subnets, classify},
    forwarded, guard,
    icmp_error::{self, Reporter},
    renumber,
};
use crate::{
    conntrack::{self, Entry},
    context::Context,
    fragment,
    helpers::{self, Socket},
    maps,
    nat::{
        publish::{self, Client, Target},
        source_port,
    },
    parse::{FragmentPosition, Parsed, Transport},
    stage::stage,
};

/// Handles a packet from outside.
#[inline(always)]
pub fn handle_from_outside(context: &mut Context) -> Reason {
    let hook = Hook::UplinkIngress;
    if let Some(reason) = established(context, hook) {
        return reason;
    }
    // Not in `prepare_for_outside`: on Linux 6.1 the stack frames of the nested calls would exceed the limit.
    if renumber::may_apply(context)
        && !destination::is_known(context.parsed.key.src)
        && let Some(reason) = renumber::translate_renumbered(context)
    {
        return reason;
    }
    match prepare_for_outside(context) {
        Some(reason) => reason,
        None => open_and_deliver(context, hook),
    }
}

/// Handles a packet from the sandbox with the endpoint in `slot`, to an address of the node, a gateway or a sandbox.
#[inline(always)]
pub fn handle_from_sandbox(context: &mut Context, slot: u32) -> Reason {
    let hook = Hook::EndpointIngress;
    if let Some(reason) = established(context, hook) {
        return reason;
    }
    match prepare_for_sandbox(context, slot) {
        Some(reason) => reason,
        None => open_and_deliver(context, hook),
    }
}

/// Opens the prepared flow, and delivers the packet.
#[inline(always)]
fn open_and_deliver(context: &mut Context, hook: Hook) -> Reason {
    match source_port::open_flow(context) {
        Ok(()) => deliver_first(context, hook).unwrap_or(Reason::EndpointGone),
        Err(reason) => reason,
    }
}

stage! {
    /// Prepares a flow for a host outside. `Some` is the reason for the verdict if no flow is to be opened.
    fn prepare_for_outside(context: &mut Context) -> Option<Reason> {
        let dst = context.parsed.key.dst;
        let destination = classify(dst, Subnets::LookUp);
        match destination {
            Destination::Sandbox(_) if !is_at_uplink(context) => Some(Reason::DirectAccess),
            Destination::Host if !is_at_uplink(context) => Some(Reason::NotOurs),
            Destination::Sandbox(_) | Destination::Host => {
                prepare(context, Hook::UplinkIngress, Client::Outside, destination)
            }
            Destination::Gateway if destination::is_in_routed_network(dst) => Some(Reason::NotOurs),
            Destination::Gateway | Destination::Subnet => Some(Reason::DirectAccess),
            Destination::Link | Destination::Outside => Some(Reason::NotOurs),
        }
    }
}

/// Whether the packet is at an interface that serves published ports.
#[inline(always)]
fn is_at_uplink(context: &Context) -> bool {
    match maps::device(context.skb.ifindex()) {
        Some(device) => device.is_uplink(),
        None => false,
    }
}

stage! {
    /// Prepares a flow for the sandbox with the endpoint in `slot`. `Some` is the reason for the verdict if no flow is to be
    /// opened.
    fn prepare_for_sandbox(context: &mut Context, slot: u32) -> Option<Reason> {
        let Some(endpoint) = maps::endpoint(slot) else {
            return Some(Reason::EndpointGone);
        };
        let destination = classify(context.parsed.key.dst, Subnets::Ignore);
        prepare(context, Hook::EndpointIngress, Client::Sandbox(slot, endpoint), destination)
    }
}

/// Delivers a packet that belongs to a flow. `None` if it belongs to none.
#[inline(always)]
fn established(context: &mut Context, hook: Hook) -> Option<Reason> {
    match context.parsed.transport {
        // `path::endpoint` has looked up the flow already.
        Transport::Flow if hook == Hook::EndpointIngress => None,
        Transport::Flow => deliver_if_known(context, hook),
        Transport::LaterFragment => deliver_later_fragment(context, hook),
        Transport::IcmpError => {
            let reporter = match hook {
                Hook::UplinkIngress | Hook::UplinkEgress => Reporter::Outside,
                Hook::EndpointIngress | Hook::EndpointEgress => Reporter::Sandbox,
            };
            icmp_error::deliver_icmp_error(context, hook, reporter)
        }
        Transport::LinkControl | Transport::Other => None,
    }
}

/// Delivers a packet of a flow. `None` if there is no flow.
#[inline(always)]
fn deliver_if_known(context: &mut Context, hook: Hook) -> Option<Reason> {
    let (entry, endpoint) = conntrack::find(context.parsed, hook)?;
    if hook == Hook::UplinkIngress
        && context.parsed.key.protocol == TCP
        && context.parsed.opens_flow()
        && is_shadowed(context)
    {
        conntrack::remove_flow(&context.parsed.key);
        return None;
    }
    if hook == Hook::UplinkIngress && deny::is_source_denied(context) {
        return Some(Reason::Denied);
    }
    Some(deliver::translated(context, entry, endpoint, hook))
}

stage! {
    /// Delivers the packet that opened a flow. `None` if another CPU has removed the flow.
    fn deliver_first(context: &mut Context, hook: Hook) -> Option<Reason> {
        deliver_if_known(context, hook)
    }
}

stage! {
    /// Delivers a later fragment. `None` if its first fragment has not arrived.
    fn deliver_later_fragment(context: &mut Context, hook: Hook) -> Option<Reason> {
        let known = fragment::find(context, hook)?;
        if hook == Hook::UplinkIngress && deny::is_source_denied(context) {
            return Some(Reason::Denied);
        }
        Some(deliver::fragment(context, &known, hook))
    }
}

stage! {
    /// Whether a SYN matches the reply direction of a flow that a sandbox opened, but its destination port was published later,
    /// or a socket of the node listens there. Both have precedence. `false` if the published port leads to the port and
    /// sandbox of the flow.
    fn is_shadowed(context: &mut Context) -> bool {
        let Some(entry) = Entry::find(&context.parsed.key) else {
            return false;
        };
        if !entry.is_reply() {
            return false;
        }
        match publish::find(context) {
            Some(target) => target.addr != entry.to().dst || target.port != entry.to().dport,
            None => helpers::find_socket(&context.skb, &context.parsed.key) == Socket::Unconnected,
        }
    }
}

/// Prepares a flow if the destination is a published port. `Some` is the reason for the verdict if no flow is to be opened.
#[inline(always)]
fn prepare(
    context: &mut Context,
    hook: Hook,
    client: Client,
    destination: Destination,
) -> Option<Reason> {
    let reason = decide(context, hook, client, destination).err()?;
    if context.parsed.fragment.position == FragmentPosition::First
        && matches!(reason, Reason::NotOurs | Reason::Sibling | Reason::ToHost)
    {
        fragment::mark_untranslated(context, hook);
    }
    Some(reason)
}

/// How a packet that belongs to no flow is handled.
enum Access {
    /// The verdict does not depend on published ports.
    Decided(Reason),
    /// A published port is looked up.
    Published {
        /// The reason if no port is published there.
        otherwise: Reason,
        /// The reason if the packet is a later fragment and was buffered; `None` if it must not be buffered.
        buffered: Option<Reason>,
    },
}

/// Prepares a flow to a published port.
///
/// # Errors
/// The reason for the verdict if no flow is to be opened.
#[inline(always)]
fn decide(
    context: &mut Context,
    hook: Hook,
    client: Client,
    destination: Destination,
) -> Result<(), Reason> {
    let access = match client {
        Client::Outside => from_outside(context.parsed, destination),
        Client::Sandbox(slot, sender) => from_sandbox(context, hook, (slot, sender), destination),
    };
    let (otherwise, buffered) = match access {
        Access::Decided(reason) => return Err(reason),
        Access::Published {
            otherwise,
            buffered,
        } => (otherwise, buffered),
    };
    if context.parsed.is_later_fragment() {
        // Its datagram may be for a published port; only the first fragment contains the port.
        let is_denied = matches!(client, Client::Outside) && deny::is_source_denied(context);
        return Err(match buffered {
            Some(reason) if !is_denied && fragment::buffer(context, hook) => reason,
            _ => otherwise,
        });
    }
    if !publish::may_open(context.parsed) {
        return Err(otherwise);
    }
    let Some(target) = publish::find(context) else {
        return Err(otherwise);
    };
    if matches!(client, Client::Outside) && is_forged(context.parsed) {
        return Err(Reason::Martian);
    }
    let Some(kind) = kind_of(context, client, destination, &target) else {
        return Err(otherwise);
    };
    if matches!(client, Client::Outside) && deny::is_source_denied(context) {
        return Err(Reason::Denied);
    }
    publish::prepare(context, client, &target, kind)
}

#[inline(always)]
fn from_outside(parsed: &Parsed, destination: Destination) -> Access {
    match destination {
        // In gateway mode `routed`, ports are published on the address of the sandbox.
        Destination::Sandbox(_) => Access::Published {
            otherwise: Reason::DirectAccess,
            buffered: if parsed.is_later_fragment()
                && destination::is_in_routed_network(parsed.key.dst)
            {
                Some(Reason::FragmentHeld)
            } else {
                None
            },
        },
        _ => Access::Published {
            otherwise: if parsed.transport == Transport::IcmpError {
                Reason::IcmpError
            } else {
                Reason::NotOurs
            },
            buffered: Some(Reason::FragmentEarly),
        },
    }
}

#[inline(always)]
fn from_sandbox(
    context: &mut Context,
    hook: Hook,
    (sender_slot, sender): (u32, &'static Endpoint),
    destination: Destination,
) -> Access {
    let Destination::Sandbox(slot) = destination else {
        return to_host(context, sender);
    };
    let Some(receiver) = maps::endpoint(slot) else {
        return Access::Decided(Reason::EndpointGone);
    };
    if receiver.ifindex == 0 {
        return Access::Decided(Reason::EndpointGone);
    }
    let is_later = context.parsed.is_later_fragment();
    if receiver.network == sender.network {
        if sender.flags & ICC_OFF != 0 {
            return Access::Decided(Reason::IccOff);
        }
        if is_later {
            // It may belong to a reply through a published port, whose receiver expects the translated source address.
            fragment::buffer(context, hook);
        }
        return Access::Decided(deliver::bridged(&mut context.skb, receiver));
    }
    if context.scratch.is_beyond {
        return Access::Decided(Reason::Spoofed);
    }
    if !guard::is_to_gateway(&context.skb, sender)
        && let Some(reason) = forwarded::to_forwarder(context, sender_slot)
    {
        return Access::Decided(reason);
    }
    // A later fragment may belong to a reply, so it is handled even if the receiver publishes no port.
    let is_reachable = receiver.is_routed() && !receiver.is_internal();
    if sender.is_internal() || !(is_later || is_reachable) {
        return Access::Decided(Reason::Isolated);
    }
    Access::Published {
        otherwise: Reason::Isolated,
        buffered: Some(Reason::FragmentHeld),
    }
}

#[inline(always)]
fn to_host(context: &Context, sender: &'static Endpoint) -> Access {
    if context.scratch.is_beyond {
        return Access::Decided(Reason::Spoofed);
    }
    let otherwise = if !guard::is_to_gateway(&context.skb, sender) {
        Reason::NotGateway
    } else if guard::is_tunnel(context.config, context.parsed) {
        Reason::Tunnel
    } else {
        Reason::ToHost
    };
    if sender.is_internal() {
        return Access::Decided(otherwise);
    }
    Access::Published {
        otherwise,
        buffered: matches!(otherwise, Reason::ToHost).then_some(Reason::FragmentEarly),
    }
}

/// Whether a source address cannot be that of a host outside. A reply would go to the wrong receiver. The stack's reverse path
/// filter would drop the packet, but a redirected packet does not pass it.
#[inline(always)]
fn is_forged(parsed: &Parsed) -> bool {
    let source = parsed.key.src;
    destination::is_known(source) || source.is_unspecified() || source.is_multicast_or_broadcast()
}

/// How a flow to a published port is translated. `None` if the published port does not apply: the packet is a reply to the
/// node or to another NAT, or its destination is a sandbox's own address on which the port is not published.
#[inline(always)]
fn kind_of(
    context: &Context,
    client: Client,
    destination: Destination,
    target: &Target,
) -> Option<Kind> {
    if matches!(destination, Destination::Sandbox(_)) {
        let is_own = target.addr == context.parsed.key.dst;
        let is_reachable = target.endpoint.is_routed() && !target.endpoint.is_internal();
        return (is_own && is_reachable).then_some(Kind::None);
    }
    if publish::is_reply_to_node(&context.skb, context.parsed) {
        return None;
    }
    Some(match client {
        Client::Outside => Kind::Dnat,
        Client::Sandbox(..) => Kind::Hairpin,
    })
}
