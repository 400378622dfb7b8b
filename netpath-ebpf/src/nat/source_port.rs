//! The choice of an external source port.
//!
//! The source port of the packet is kept if SNAT may use it. The second candidate is a keyed hash of the inner address and
//! port. It is unpredictable from outside (RFC 6056) and the same for every destination, so without collisions the mapping
//! is endpoint-independent (RFC 4787 REQ-1). Later candidates are random. The insertion of the reply entry allocates the
//! port; it fails if the port is used.

use netpath_common::{
    addr::Be16,
    flow::{FlowKey, ICMP, ICMPV6, UDP},
    maps::{Config, VXLAN_PORT},
    reason::Reason,
};

use crate::{
    conntrack::{self, Refused},
    context::{Context, SourcePort},
    hash::keyed_hash,
    helpers::{self, Continue, Socket, Step, repeat},
    maps,
    packet::skb::Skb,
    stage::stage,
};

/// Number of candidates before a new flow is refused. A candidate is rejected if SNAT must not use its port, or if another
/// flow to the same destination uses it.
const ATTEMPTS: u32 = 32;

stage! {
    /// Chooses the source port of the flow in `scratch.flow`, and inserts the entries of the flow.
    ///
    /// # Errors
    /// The reason to drop the packet.
    pub fn open_flow(context: &mut Context) -> Result<(), Reason> {
        if !conntrack::admits(context.config, &context.scratch.flow.opening.reply) {
            return Err(Reason::Quota);
        }
        let mut search = Search {
            context,
            outcome: Outcome::NoPort,
        };
        repeat(ATTEMPTS, &mut search);
        if search.outcome == Outcome::TableFull {
            conntrack::reclaim_table(search.context.config);
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
        let candidate = match number {
            0 => from.sport.get(),
            1 => scale(config, is_echo, mix(config.secret, from)),
            _ => scale(config, is_echo, helpers::random_u32()),
        };
        let to = &mut context.scratch.flow.to;
        to.sport = Be16::new(candidate);
        let source = context.scratch.flow.opening.source;
        let is_kept = source != SourcePort::Choose && number == 0;
        let is_usable = if is_echo {
            is_usable_identifier(config, to)
        } else {
            is_kept || is_usable_port(config, &context.skb, to)
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

/// Whether SNAT may use the source port of `to`: it is in the range, no port is published there, and no socket of the node
/// receives the replies.
#[inline(always)]
fn is_usable_port(config: &Config, skb: &Skb, to: &FlowKey) -> bool {
    let port = to.sport.get();
    config.snat_first <= port
        && port <= config.snat_last
        && !(to.protocol == UDP && port == VXLAN_PORT)
        && !maps::is_snat_taken(to.protocol, port)
        && helpers::find_socket(skb, &to.reversed()) == Socket::None
}

/// Whether the echo identifier of `to` may be used: the node itself expects no reply with it.
#[inline(always)]
fn is_usable_identifier(config: &Config, to: &FlowKey) -> bool {
    match maps::host_echo(&to.reversed()) {
        Some(sent) => helpers::now().saturating_sub(sent) > config.timers.icmp,
        None => true,
    }
}

/// Maps 32 random bits to the range of SNAT without a division; for an echo, to every identifier.
#[inline(always)]
fn scale(config: &Config, is_echo: bool, random: u32) -> u16 {
    if is_echo {
        return random as u16;
    }
    let width = (config.snat_last.wrapping_sub(config.snat_first)) as u64 + 1;
    config
        .snat_first
        .wrapping_add(((random as u64 * width) >> 32) as u16)
}

/// A keyed hash of the source address, source port and protocol.
#[inline(always)]
fn mix(secret: u64, key: &FlowKey) -> u32 {
    let (high, low) = key.src.raw();
    let ports = (key.sport.raw() as u64) << 8 | key.protocol as u64;
    keyed_hash(secret ^ high ^ ports, low)
}
