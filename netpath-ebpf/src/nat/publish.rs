//! Published ports: destination translation, for clients outside and for sandboxes of this node.

use netpath_common::{
    addr::{Addr, Be16},
    flow::{FlowKey, Kind, TCP, UDP},
    maps::{Config, Endpoint, PortKey, PublishedRange},
    portmap::LEVELS,
    reason::Reason,
};

use super::outer;
use crate::{
    context::{Context, LocalEnd, Opening, SourcePort},
    helpers::{self, Continue, Socket, Step, repeat},
    maps,
    packet::skb::Skb,
    parse::{ACK, FIN, Parsed, RST, SYN, Transport},
    stage::stage,
};

/// The endpoint and port that a published port leads to.
pub struct Target {
    /// Slot of the endpoint.
    pub slot: u32,
    /// Number of the allow-list; 0 permits every source.
    pub allow: u32,
    /// The endpoint.
    pub endpoint: &'static Endpoint,
    /// Address of the endpoint, of the packet's family.
    pub addr: Addr,
    /// Port of the endpoint.
    pub port: Be16,
    /// [`PublishedRange::flags`], for the socket programs.
    #[cfg(target_arch = "bpf")]
    pub flags: u16,
}

impl Target {
    /// The target of a port in a published range, for a client of the family of `addr`. `None` if the endpoint was removed or
    /// has no address of this family.
    #[inline(always)]
    fn of(range: &PublishedRange, addr: &Addr, port: u16) -> Option<Self> {
        let endpoint = maps::live_endpoint(range.endpoint, range.generation)?;
        let inner = endpoint.address(addr.family());
        if inner.is_unspecified() {
            return None;
        }
        Some(Self {
            slot: range.endpoint,
            allow: range.allow,
            endpoint,
            addr: inner,
            port: Be16::new(range.port.wrapping_add(port.wrapping_sub(range.first))),
            #[cfg(target_arch = "bpf")]
            flags: range.flags,
        })
    }
}

/// The published port at the destination of a packet. `None` if there is none.
#[inline(always)]
pub fn find(context: &mut Context) -> Option<Target> {
    let (key, range) = (&context.parsed.key, &mut context.scratch.published);
    let port = key.dport.get();
    let levels = Levels::published(context.config);
    if !find_range(&levels, &key.dst, port, key.protocol, range) {
        return None;
    }
    Target::of(range, &key.dst, port)
}

/// The published port that a socket connects to. `None` if there is none.
#[cfg(target_arch = "bpf")]
#[inline(never)]
pub fn find_for_socket(config: &Config, addr: &Addr, port: u16, protocol: u8) -> Option<Target> {
    let mut range = PublishedRange::default();
    if !find_range(&Levels::published(config), addr, port, protocol, &mut range) {
        return None;
    }
    Target::of(&range, addr, port)
}

/// Whether a port is published at an address and reserved by netpath, for sockets.
#[cfg(target_arch = "bpf")]
#[inline(never)]
pub fn is_reserved_for_socket(config: &Config, addr: &Addr, port: u16, protocol: u8) -> bool {
    let mut range = PublishedRange::default();
    find_range(&Levels::published(config), addr, port, protocol, &mut range)
        && range.flags & PublishedRange::HELD_BY_ENGINE == 0
}

stage! {
    /// Whether the source address and port of the packet are published.
    pub fn is_source_published(context: &mut Context) -> bool {
        let (key, range) = (&context.parsed.key, &mut context.scratch.published);
        let levels = Levels::published(context.config);
        find_range(&levels, &key.src, key.sport.get(), key.protocol, range)
    }
}

stage! {
    /// Whether the source address and port of the flow in `scratch.flow` are published.
    pub fn is_new_source_published(context: &mut Context) -> bool {
        let (key, range) = (&context.scratch.flow.to, &mut context.scratch.published);
        let levels = Levels::published(context.config);
        find_range(&levels, &key.src, key.sport.get(), key.protocol, range)
    }
}

/// The host port that is published at the address `outer` for the source port of the packet, which an endpoint sends. 0 if
/// there is none.
#[inline(always)]
pub fn port_of_source(context: &mut Context, slot: u32, endpoint: &Endpoint, outer: &Addr) -> u16 {
    let (key, range) = (&context.parsed.key, &mut context.scratch.published);
    let levels = Levels::own(context.config, slot);
    let port = key.sport.get();
    if find_range(&levels, outer, port, key.protocol, range)
        && range.generation == endpoint.generation
    {
        range.port.wrapping_add(port.wrapping_sub(range.first))
    } else {
        0
    }
}

/// Which ranges to search: the levels in use, as bit masks, and the endpoint.
struct Levels {
    exact: u32,
    family: u32,
    any: u32,
    /// 0 for `ports`; for `own_ports` the slot of the endpoint.
    endpoint: u32,
}

impl Levels {
    /// The published ranges.
    #[inline(always)]
    const fn published(config: &Config) -> Self {
        Self {
            exact: config.exact_levels,
            family: config.family_levels,
            any: config.any_levels,
            endpoint: 0,
        }
    }

    /// The ranges of an endpoint's own ports.
    #[inline(always)]
    const fn own(config: &Config, slot: u32) -> Self {
        Self {
            exact: config.own_exact_levels,
            family: config.own_family_levels,
            any: config.own_any_levels,
            endpoint: slot,
        }
    }

    /// The levels in use as bits, from the lowest: exact addresses, every address of a family, every address.
    #[inline(always)]
    const fn candidates(&self) -> u64 {
        self.exact as u64 | (self.family as u64) << LEVELS | (self.any as u64) << (2 * LEVELS)
    }
}

/// Copies the range at an address and port to `range`. An entry for the exact address precedes one for every address of the
/// family, which precedes one for every address. `false` if there is none.
#[inline(always)]
fn find_range(
    levels: &Levels,
    addr: &Addr,
    port: u16,
    protocol: u8,
    range: &mut PublishedRange,
) -> bool {
    let mut search = Search {
        addr: *addr,
        candidates: levels.candidates(),
        endpoint: levels.endpoint,
        port,
        protocol,
        found: false,
        range: PublishedRange::default(),
    };
    if search.candidates == 0 {
        return false;
    }
    repeat(search.candidates.count_ones(), &mut search);
    *range = search.range;
    search.found
}

/// A search through the keys of all ranges that may contain a port.
#[repr(C)]
struct Search {
    addr: Addr,
    /// One bit for each key that was not looked up yet.
    candidates: u64,
    /// [`Levels::endpoint`].
    endpoint: u32,
    port: u16,
    protocol: u8,
    found: bool,
    range: PublishedRange,
}

impl Step for Search {
    /// Looks up the next key.
    #[inline(always)]
    fn step(&mut self, _number: u32) -> Continue {
        let candidate = self.candidates.trailing_zeros() as u8;
        self.candidates &= self.candidates.wrapping_sub(1);
        let (addr, level) = if candidate < LEVELS {
            (self.addr, candidate)
        } else if candidate < 2 * LEVELS {
            (PortKey::any_of(self.addr.family()), candidate - LEVELS)
        } else {
            (PortKey::ANY, candidate.wrapping_sub(2 * LEVELS))
        };
        let key = PortKey::at_level(addr, self.protocol, self.port, level & 31)
            .of_endpoint(self.endpoint);
        let found = if self.endpoint == 0 {
            maps::published_range(&key)
        } else {
            maps::own_range(&key)
        };
        if let Some(range) = found
            && range.first <= self.port
            && self.port <= range.last
        {
            self.found = true;
            self.range.first = range.first;
            self.range.port = range.port;
            self.range.flags = range.flags;
            self.range.endpoint = range.endpoint;
            self.range.generation = range.generation;
            self.range.allow = range.allow;
            return Continue::No;
        }
        Continue::Yes
    }
}

/// Whether a packet may open a flow to a published port.
#[inline(always)]
pub fn may_open(parsed: &Parsed) -> bool {
    parsed.transport == Transport::Flow
        && match parsed.key.protocol {
            UDP => true,
            TCP => parsed.opens_flow() || is_midstream(parsed),
            _ => false,
        }
}

/// Whether a segment belongs to an established connection. If such a segment has no flow, the flow table was lost, and the
/// published port determines the receiver.
#[inline(always)]
fn is_midstream(parsed: &Parsed) -> bool {
    parsed.tcp_flags & (SYN | ACK | RST | FIN) == ACK
}

/// Whether a packet that may open a flow is a reply to the node or to another NAT, which have precedence over a published
/// port: its tuple is recorded, a socket is connected to the sender, or a socket is bound to the port and its exchanges
/// could not be recorded.
#[inline(always)]
pub fn is_reply_to_node(skb: &Skb, parsed: &Parsed) -> bool {
    is_reply(parsed, |key| helpers::find_socket(skb, key))
}

/// As [`is_reply_to_node`]; `find_socket` looks up the socket that receives the packet.
#[inline(always)]
pub fn is_reply(parsed: &Parsed, find_socket: impl FnOnce(&FlowKey) -> Socket) -> bool {
    if parsed.key.protocol != UDP && !is_midstream(parsed) {
        return false;
    }
    if outer::is_used(&parsed.key) {
        return true;
    }
    match find_socket(&parsed.key) {
        Socket::Connected => true,
        Socket::Unconnected => outer::is_avoided(parsed.key.protocol, parsed.key.dport.get()),
        Socket::None => false,
    }
}

/// The sender of a packet to a published port.
#[derive(Clone, Copy)]
pub enum Client {
    /// A host outside.
    Outside,
    /// A sandbox of this node: slot and endpoint. It may be the sandbox that publishes the port.
    Sandbox(u32, &'static Endpoint),
}

/// Prepares a flow to a published port in `scratch.flow`.
///
/// # Errors
/// The reason to refuse the flow.
#[inline(always)]
pub fn prepare(
    context: &mut Context,
    client: Client,
    target: &Target,
    kind: Kind,
) -> Result<(), Reason> {
    let from = &context.parsed.key;
    if target.allow != 0 && !maps::is_allowed(target.allow, from.src) {
        return Err(Reason::NotAllowed);
    }
    let to = &mut context.scratch.flow.to;
    to.copy_from(from);
    to.dst = target.addr;
    to.dport = target.port;
    let original = LocalEnd::receiver(target.slot, target.endpoint);
    // A client may reach one port of a sandbox through two addresses of the node, from one source port. The second flow then
    // gets another source port.
    let mut source = SourcePort::Prefer;
    let reply = match client {
        Client::Outside => LocalEnd::sender(target.slot, target.endpoint),
        Client::Sandbox(slot, endpoint) => {
            let may_reply_elsewhere =
                target.endpoint.is_multihomed() && target.endpoint.network != endpoint.network;
            if slot == target.slot || may_reply_elsewhere {
                // The sandbox would send replies to its own address, or to an address of another of its networks, without
                // using the gateway. So the gateway's address replaces the source.
                to.src = target.endpoint.gateway(context.parsed.family);
                source = SourcePort::Choose;
                if to.src.is_unspecified() {
                    return Err(Reason::NoAddress);
                }
            }
            LocalEnd::receiver(slot, endpoint)
        }
    };
    context.scratch.flow.opening = Opening {
        original,
        reply,
        kind,
        source,
        published: 0,
    };
    Ok(())
}
