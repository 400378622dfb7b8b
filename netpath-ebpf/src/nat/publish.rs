//! Published ports: destination translation, for clients outside and for sandboxes of this node.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;
use netpath_common::{
    addr::{Addr, Be16},
    flow::{Kind, TCP, UDP},
    maps::{Endpoint, Port, PortKey},
    portmap::LEVELS,
    reason::Reason,
};

use super::ports;
use crate::{
    conntrack::{self, Inner, Opening, SourcePort},
    maps,
    packet::skb::Skb,
    parse::{Parsed, Transport},
};

/// A published port that a tuple is addressed to.
pub struct Target {
    /// The range.
    pub port: &'static Port,
    /// Its endpoint.
    pub endpoint: &'static Endpoint,
    /// The endpoint's address in the packet's family.
    pub addr: Addr,
    /// The endpoint's port.
    pub target: Be16,
}

/// The published port for a destination: the exact address first, then every address of its family, then every
/// address. `None` if nothing is published there, or nothing that lives and has an address of this family.
#[inline(always)]
pub fn find(addr: &Addr, port: u16, protocol: u8) -> Option<Target> {
    let entry = published(addr, port, protocol)?;
    let endpoint = maps::live_endpoint(entry.endpoint, entry.generation)?;
    let inside = endpoint.address(*addr);
    if inside.is_unspecified() {
        return None;
    }
    let target = Be16::new(entry.target.wrapping_add(port.wrapping_sub(entry.first)));
    Some(Target {
        port: entry,
        endpoint,
        addr: inside,
        target,
    })
}

/// Whether a packet may open a flow to a published port at all.
#[inline(always)]
pub fn is_candidate(parsed: &Parsed) -> bool {
    parsed.transport == Transport::Flow
        && matches!(parsed.key.protocol, TCP | UDP)
        && parsed.opens_flow()
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
    if target.port.allow != 0 && !maps::allowed(target.port.allow, from.src) {
        return Err(Reason::NotAllowed);
    }
    if parsed.ttl <= 1 {
        return Err(Reason::TtlExceeded);
    }
    let Some(scratch) = maps::scratch() else {
        return Err(Reason::TableFull);
    };
    conntrack::set(&mut scratch.to, from);
    scratch.to.dst = target.addr;
    scratch.to.dport = target.target;
    let inside = target.port.endpoint;
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

/// The range that holds a port. Apart from [`find`], so that what it returns fits a register.
#[inline(never)]
fn published(addr: &Addr, port: u16, protocol: u8) -> Option<&'static Port> {
    let config = maps::config()?;
    if let Some(entry) = search(*addr, config.exact_levels, port, protocol) {
        return Some(entry);
    }
    let family = if addr.is_v4() {
        PortKey::ANY_V4
    } else {
        PortKey::ANY_V6
    };
    if let Some(entry) = search(family, config.family_levels, port, protocol) {
        return Some(entry);
    }
    search(PortKey::ANY, config.any_levels, port, protocol)
}

#[inline(always)]
fn search(addr: Addr, levels: u32, port: u16, protocol: u8) -> Option<&'static Port> {
    if levels == 0 {
        return None;
    }
    let mut level = 0;
    // A host that publishes single ports only has one level.
    if levels != 1 {
        let mut search = Search {
            key: PortKey::at_level(addr, protocol, port, 0),
            levels,
            port: port as u32,
            level: LEVELS as u32,
        };
        // SAFETY: the callback gets this `search` and nothing keeps it (Linux 5.17).
        unsafe {
            bpf_loop(
                LEVELS as u32,
                try_level as *mut c_void,
                (&raw mut search).cast(),
                0,
            );
        }
        if search.level >= LEVELS as u32 {
            return None;
        }
        level = search.level as u8;
    }
    // Looked up again: the verifier would follow the program once for every level that a reference may come from.
    let entry = maps::port(&PortKey::at_level(addr, protocol, port, level))?;
    if entry.first <= port && port <= entry.last {
        Some(entry)
    } else {
        None
    }
}

#[repr(C, align(8))]
struct Search {
    key: PortKey,
    levels: u32,
    port: u32,
    /// Where the range stands; [`LEVELS`] if there is none.
    level: u32,
}

/// One level. A callback, so that the verifier follows it once and not [`LEVELS`] times.
unsafe extern "C" fn try_level(level: u32, search: *mut c_void) -> i64 {
    // SAFETY: `bpf_loop` passes on what `search` gave it.
    let search = unsafe { &mut *search.cast::<Search>() };
    let level = level & 31;
    if search.levels & (1 << level) == 0 {
        return GO_ON;
    }
    search.key.level = level as u8;
    search.key.block = (search.port >> level) as u16;
    match maps::port(&search.key) {
        Some(entry) if (entry.first as u32) <= search.port && search.port <= entry.last as u32 => {
            search.level = level;
            STOP
        }
        _ => GO_ON,
    }
}

const GO_ON: i64 = 0;
const STOP: i64 = 1;
