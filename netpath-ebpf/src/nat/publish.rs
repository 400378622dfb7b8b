//! Published ports: destination translation, for clients outside and for sandboxes of this node.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use netpath_common::{
    addr::{Addr, Be16},
    flow::{Kind, TCP, UDP},
    maps::{Config, Endpoint, Port, PortKey},
    portmap::LEVELS,
    reason::Reason,
};

use super::ports;
use crate::{
    conntrack::{self, Inner, Opening, SourcePort},
    maps,
    packet::skb::Skb,
    parse::{ACK, FIN, Parsed, RST, SYN, Transport},
};

/// A published port that a tuple is addressed to.
pub struct Target {
    /// Slot of its endpoint.
    pub slot: u32,
    /// List of the sources that may use it; 0 for everybody.
    pub allow: u32,
    /// Its endpoint.
    pub endpoint: &'static Endpoint,
    /// The endpoint's address in the packet's family.
    pub addr: Addr,
    /// The endpoint's port.
    pub target: Be16,
}

/// The published port for a destination: the exact address first, then every address of its family, then every
/// address. `None` if nothing is published there, or nothing that lives and has an address of this family.
#[inline(never)]
pub fn find(addr: &Addr, port: u16, protocol: u8) -> Option<Target> {
    let config = maps::config()?;
    let mut search = Search {
        addr: *addr,
        places: places(config),
        port,
        protocol,
        found: false,
        entry: Port::default(),
    };
    if search.places == 0 {
        return None;
    }
    // SAFETY: the callback gets this `search` and nothing keeps it (Linux 5.17).
    unsafe {
        let count = search.places.count_ones();
        bpf_loop(count, look as *mut c_void, (&raw mut search).cast(), 0);
    }
    if !search.found {
        return None;
    }
    let entry = &search.entry;
    let endpoint = maps::live_endpoint(entry.endpoint, entry.generation)?;
    let inside = endpoint.address(*addr);
    if inside.is_unspecified() {
        return None;
    }
    let target = Be16::new(entry.target.wrapping_add(port.wrapping_sub(entry.first)));
    Some(Target {
        slot: entry.endpoint,
        allow: entry.allow,
        endpoint,
        addr: inside,
        target,
    })
}

/// A search through the places where a range may stand.
#[repr(C)]
struct Search {
    addr: Addr,
    /// A bit for each place that is left to look at: by sort of address, then by level.
    places: u64,
    port: u16,
    protocol: u8,
    found: bool,
    entry: Port,
}

/// The places in use: exact addresses in the lowest bits, then those for one family, then those for every address.
#[inline(always)]
fn places(config: &Config) -> u64 {
    config.exact_levels as u64
        | (config.family_levels as u64) << LEVELS
        | (config.any_levels as u64) << (2 * LEVELS)
}

/// Looks at the next place. A callback, so that the verifier follows it once and not for every place.
unsafe extern "C" fn look(_number: u32, search: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` passes on what `find` gave it.
    let search = unsafe { &mut *search.cast::<Search>() };
    let place = search.places.trailing_zeros() as u8;
    search.places &= search.places.wrapping_sub(1);
    let (addr, level) = if place < LEVELS {
        (search.addr, place)
    } else if place < 2 * LEVELS {
        let family = if search.addr.is_v4() {
            PortKey::ANY_V4
        } else {
            PortKey::ANY_V6
        };
        (family, place - LEVELS)
    } else {
        (PortKey::ANY, place.wrapping_sub(2 * LEVELS))
    };
    let key = PortKey::at_level(addr, search.protocol, search.port, level & 31);
    if let Some(entry) = maps::port(&key)
        && entry.first <= search.port
        && search.port <= entry.last
    {
        search.found = true;
        search.entry.first = entry.first;
        search.entry.target = entry.target;
        search.entry.endpoint = entry.endpoint;
        search.entry.generation = entry.generation;
        search.entry.allow = entry.allow;
        return 1;
    }
    0
}

/// Whether a packet may open a flow to a published port at all.
#[inline(always)]
pub fn is_candidate(parsed: &Parsed) -> bool {
    parsed.transport == Transport::Flow
        && match parsed.key.protocol {
            UDP => true,
            TCP => parsed.opens_flow() || is_midstream(parsed),
            _ => false,
        }
}

/// Whether a segment belongs to a connection that is under way. One without a flow has lost it with the table: the
/// published port tells where it goes.
#[inline(always)]
fn is_midstream(parsed: &Parsed) -> bool {
    parsed.tcp_flags & (SYN | ACK | RST | FIN) == ACK
}

/// Whether a packet that may open a flow belongs to a socket of the node instead, whatever is published on its port: to
/// one that is connected to the sender.
#[inline(always)]
pub fn is_for_socket(skb: &Skb, parsed: &Parsed) -> bool {
    (parsed.key.protocol == UDP || is_midstream(parsed))
        && ports::is_connected_socket(skb, &parsed.key)
}

/// Who asks for a published port.
pub enum Client {
    /// A host outside.
    Outside,
    /// A sandbox of this node: its slot and its endpoint. It may be the one that publishes the port.
    Sandbox(u32, &'static Endpoint),
}

/// Opens a flow to a published port.
///
/// # Errors
/// The reason why there is none: to drop the packet, or to let the stack answer it.
#[inline(always)]
pub fn open(
    skb: &Skb,
    parsed: &Parsed,
    client: Client,
    target: &Target,
    kind: Kind,
) -> Result<(), Reason> {
    let from = &parsed.key;
    if target.allow != 0 && !maps::allowed(target.allow, from.src) {
        return Err(Reason::NotAllowed);
    }
    let Some(scratch) = maps::scratch() else {
        return Err(Reason::TableFull);
    };
    conntrack::keys::set(&mut scratch.to, from);
    scratch.to.dst = target.addr;
    scratch.to.dport = target.target;
    let inside = target.slot;
    let original = Inner::into(inside, target.endpoint);
    // One client may reach the same port of a sandbox through two of the node's addresses with one source port: the
    // second flow needs another one.
    let mut source = SourcePort::Prefer;
    let reply = match client {
        Client::Outside => Inner::out_of(inside, target.endpoint),
        Client::Sandbox(slot, endpoint) => {
            if slot == inside {
                // Its own address as a source would never come back to us: the gateway stands in for it.
                scratch.to.src = endpoint.gateway(from.src);
                source = SourcePort::Choose;
                if scratch.to.src.is_unspecified() {
                    return Err(Reason::NoAddress);
                }
            }
            Inner::into(slot, endpoint)
        }
    };
    ports::open(
        &Opening {
            original,
            reply,
            kind,
            source,
        },
        skb,
        parsed,
        scratch,
    )
}
