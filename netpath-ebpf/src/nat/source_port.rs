//! The choice of an external source port.
//!
//! The first candidate is the port that the sandbox has published for the source port of the packet, the second one is the
//! source port itself. The third one is a keyed hash of the inner address and port. It is unpredictable from outside
//! (RFC 6056) and the same for every destination, so without collisions the mapping is endpoint-independent (RFC 4787
//! REQ-1). Later candidates are random. The first free candidate is chosen: no port is published there, and neither a socket
//! of the node nor another NAT would get the replies. The insertion of the reply entry allocates the port; it fails if a flow
//! uses it.

use netpath_common::{
    addr::Be16,
    flow::{FlowKey, ICMP, ICMPV6, UDP},
    maps::{Config, VXLAN_PORT},
    reason::Reason,
};

use super::{outer, publish};
use crate::{
    conntrack::{self, Refused},
    context::{Context, SourcePort},
    hash::keyed_hash,
    helpers::{self, Continue, Socket, Step, repeat},
    maps,
    packet::skb::Skb,
    stage::stage,
};

/// Number of candidates before a new flow is refused.
const ATTEMPTS: u32 = 34;

/// Lowest external port. Lower ports are reserved for the node.
const FIRST_PORT: u16 = 1_024;

/// Chooses the source port of the flow in `scratch.flow`, and inserts the entries of the flow.
///
/// # Errors
/// The reason to drop the packet.
#[inline(always)]
pub fn open_flow(context: &mut Context) -> Result<(), Reason> {
    insert_flow(context)?;
    conntrack::track(context);
    Ok(())
}

stage! {
    /// Does what [`open_flow`] describes, without tracking the flow.
    fn insert_flow(context: &mut Context) -> Result<(), Reason> {
        let owner = context.scratch.flow.opening.reply;
        let protocol = context.parsed.key.protocol;
        if !conntrack::admits(context.config, protocol, &owner, &mut context.scratch.flow.other) {
            return Err(Reason::Quota);
        }
        let mut search = Search {
            context,
            outcome: Outcome::NoPort,
        };
        repeat(ATTEMPTS, &mut search);
        if search.outcome == Outcome::TableFull {
            let context = &mut *search.context;
            conntrack::reclaim_table(context.config, &owner, &mut context.scratch.flow.other);
            search.outcome = Outcome::NoPort;
            repeat(ATTEMPTS, &mut search);
        }
        match search.outcome {
            Outcome::Opened => Ok(()),
            Outcome::TableFull => Err(Reason::TableFull),
            Outcome::NoPort => Err(Reason::NoPort),
        }
    }
}

struct Search<'a> {
    context: &'a mut Context,
    outcome: Outcome,
}

/// Eight bytes wide: the verifier tracks values on the stack in units of eight bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Outcome {
    NoPort = 0,
    Opened = 1,
    TableFull = 2,
}

impl Step for Search<'_> {
    #[inline(always)]
    fn step(&mut self, number: u32) -> Continue {
        let context = &mut *self.context;
        let config = context.config;
        let from = &context.parsed.key;
        let is_echo = matches!(from.protocol, ICMP | ICMPV6);
        let source = context.scratch.flow.opening.source;
        let candidate = match number {
            0 => context.scratch.flow.opening.published,
            1 => from.sport.get(),
            2 => scale(is_echo, mix(config.secret, from)),
            _ => scale(is_echo, helpers::random_u32()),
        };
        if number == 0 && candidate == 0 {
            return Continue::Yes;
        }
        let flow = &mut context.scratch.flow;
        flow.to.sport = Be16::new(candidate);
        // Stored in the map: on Linux 6.1, this call has little stack left.
        flow.reply_key.copy_reversed(&flow.to);
        let is_usable = if is_echo {
            is_usable_identifier(config, &flow.reply_key)
        } else if number == 0 {
            is_usable_published_port(&context.skb, &flow.reply_key)
        } else {
            (source != SourcePort::Choose && number == 1) || is_usable_port(context)
        };
        if !is_usable {
            return Continue::Yes;
        }
        match conntrack::create(context) {
            Ok(()) => self.outcome = Outcome::Opened,
            Err(Refused::Full) => self.outcome = Outcome::TableFull,
            Err(Refused::Taken) if source != SourcePort::Keep => return Continue::Yes,
            Err(Refused::Taken) => {}
        }
        Continue::No
    }
}

/// Whether SNAT may use the source port of the flow in `scratch.flow`.
#[inline(always)]
fn is_usable_port(context: &mut Context) -> bool {
    let to = &context.scratch.flow.to;
    let (protocol, port) = (to.protocol, to.sport.get());
    if port < FIRST_PORT
        || (protocol == UDP && (port == VXLAN_PORT || context.config.is_tunnel_port(port)))
        || outer::is_avoided(protocol, port)
    {
        return false;
    }
    !outer::is_used(&context.scratch.flow.reply_key)
        && !publish::is_new_source_published(context)
        && helpers::find_socket(&context.skb, &context.scratch.flow.reply_key) == Socket::None
}

/// Whether the source port of a flow with the tuple `reply` of replies, which its sandbox has published, may be used: a
/// published port precedes listeners of the node, but not its exchanges.
#[inline(always)]
fn is_usable_published_port(skb: &Skb, reply: &FlowKey) -> bool {
    !outer::is_used(reply) && helpers::find_socket(skb, reply) != Socket::Connected
}

/// Whether the echo identifier of a flow with the tuple `reply` of replies may be used: the node itself expects no reply with
/// it.
#[inline(always)]
fn is_usable_identifier(config: &Config, reply: &FlowKey) -> bool {
    match maps::host_echo(reply) {
        Some(sent) => helpers::now().saturating_sub(sent) > config.timers.icmp,
        None => true,
    }
}

/// Maps 32 random bits to the ports from [`FIRST_PORT`] on without a division; for an echo, to every identifier.
#[inline(always)]
fn scale(is_echo: bool, random: u32) -> u16 {
    if is_echo {
        return random as u16;
    }
    let width = (u16::MAX - FIRST_PORT) as u64 + 1;
    FIRST_PORT.wrapping_add(((random as u64 * width) >> 32) as u16)
}

/// A keyed hash of the source address, source port and protocol.
#[inline(always)]
fn mix(secret: u64, key: &FlowKey) -> u32 {
    let (high, low) = key.src.raw();
    let ports = (key.sport.raw() as u64) << 8 | key.protocol as u64;
    keyed_hash(secret ^ high ^ ports, low)
}
