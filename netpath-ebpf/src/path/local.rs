//! Packets to an address of the node or of a sandbox, from outside or from a sandbox.
//!
//! ```text
//! established   packet of a flow · later fragment of a translated datagram · ICMP error about a flow ─► deliver
//! open          access of this client ─► published port ─► new flow ─► deliver
//! ```
//!
//! At an uplink the flow is looked up first, because most packets have one; at an endpoint the destination is classified
//! first, because most packets go outside.

use netpath_common::{
    flow::{Kind, TCP},
    hook::Hook,
    maps::{Endpoint, ICC_OFF},
    reason::Reason,
};

use super::{
    deliver,
    destination::{self, Destination},
    guard,
    icmp_error::{self, Reporter},
};
use crate::{
    conntrack::{self, Entry},
    context::Context,
    fragment, maps,
    nat::publish::{self, Client, Target},
    parse::{FragmentPosition, Parsed, Transport},
};

/// Delivers a packet that belongs to a flow. `None` if it belongs to none.
#[inline(always)]
pub fn established(context: &mut Context, hook: Hook) -> Option<Reason> {
    match context.parsed.transport {
        Transport::Flow => {
            let (entry, endpoint) = conntrack::find(context.parsed, hook)?;
            if hook == Hook::UplinkIngress && is_shadowed(context, entry) {
                conntrack::remove(&context.parsed.key);
                return None;
            }
            Some(deliver::translated(context, entry, endpoint, hook))
        }
        Transport::LaterFragment => {
            let known = fragment::find(context, hook)?;
            Some(deliver::fragment(context, &known, hook))
        }
        Transport::IcmpError => {
            let reporter = match hook {
                Hook::UplinkIngress | Hook::UplinkEgress => Reporter::Outside,
                Hook::EndpointIngress | Hook::EndpointEgress => Reporter::Sandbox,
            };
            icmp_error::deliver(context, hook, reporter)
        }
        Transport::LinkControl | Transport::Other => None,
    }
}

/// Whether a segment that opens a connection matches the reply direction of a flow that a sandbox opened, on a port that was
/// published later. A flow must not hide a published port.
#[inline(always)]
fn is_shadowed(context: &Context, entry: Entry) -> bool {
    let parsed = &*context.parsed;
    let key = &parsed.key;
    entry.is_reply()
        && key.protocol == TCP
        && parsed.opens_flow()
        && publish::find(context.config, &key.dst, key.dport.get(), TCP).is_some()
}

/// Handles a packet that belongs to no flow, to [`Destination::Sandbox`], [`Destination::Host`] or, from a sandbox,
/// [`Destination::Gateway`].
#[inline(always)]
pub fn open(context: &mut Context, hook: Hook, client: Client, destination: Destination) -> Reason {
    let reason = decide(context, hook, client, destination);
    if context.parsed.fragment.position == FragmentPosition::First
        && matches!(reason, Reason::NotOurs | Reason::Sibling | Reason::ToHost)
    {
        fragment::mark_untranslated(context, hook);
    }
    reason
}

/// What a client may do with a destination.
enum Access {
    /// Nothing depends on published ports.
    Decided(Reason),
    /// A published port is looked up.
    Published {
        /// The reason if there is none.
        otherwise: Reason,
        /// The reason if the packet is a later fragment and was buffered; `None` if it must not be buffered.
        buffered: Option<Reason>,
    },
}

#[inline(always)]
fn decide(context: &mut Context, hook: Hook, client: Client, destination: Destination) -> Reason {
    let access = match client {
        Client::Outside => from_outside(context.parsed, destination),
        Client::Sandbox(_, sender) => from_sandbox(context, hook, sender, destination),
    };
    let (otherwise, buffered) = match access {
        Access::Decided(reason) => return reason,
        Access::Published {
            otherwise,
            buffered,
        } => (otherwise, buffered),
    };
    if context.parsed.is_later_fragment() {
        // It may belong to a datagram to a published port whose first fragment arrives later.
        return match buffered {
            Some(reason) if fragment::buffer(context, hook) => reason,
            _ => otherwise,
        };
    }
    if !publish::may_open(context.parsed) {
        return otherwise;
    }
    let key = &context.parsed.key;
    let Some(target) = publish::find(context.config, &key.dst, key.dport.get(), key.protocol)
    else {
        return otherwise;
    };
    if matches!(client, Client::Outside) && is_forged(context.parsed) {
        return Reason::Martian;
    }
    let Some(kind) = kind_of(context, client, destination, &target) else {
        return otherwise;
    };
    if let Err(reason) = publish::open(context, client, &target, kind) {
        return reason;
    }
    match conntrack::find(context.parsed, hook) {
        Some((entry, endpoint)) => deliver::translated(context, entry, endpoint, hook),
        None => Reason::EndpointGone,
    }
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
    sender: &'static Endpoint,
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
            // It may reply to a packet through a published port, whose sender expects the translated address.
            fragment::buffer(context, hook);
        }
        return Access::Decided(deliver::bridged(&mut context.skb, receiver));
    }
    // A later fragment may belong to a reply, even if no port is published at the receiver.
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
    let otherwise = if !guard::is_to_gateway(&context.skb, sender) {
        Reason::NotGateway
    } else if guard::is_tunnel(context.parsed) {
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

/// Whether a source address cannot be that of a host outside. Replies would be delivered to the wrong place; the stack, which
/// checks reverse paths, does not see the packet.
#[inline(always)]
fn is_forged(parsed: &Parsed) -> bool {
    let source = parsed.key.src;
    destination::is_known(source) || source.is_unspecified() || source.is_multicast_or_broadcast()
}

/// How a flow to a published port is translated. `None` if the packet does not go to the published port: it belongs to a socket
/// of the node, or the port is not published on the sandbox's own address.
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
    if publish::is_for_socket(&context.skb, context.parsed) {
        return None;
    }
    Some(match client {
        Client::Outside => Kind::Dnat,
        Client::Sandbox(..) => Kind::Hairpin,
    })
}
