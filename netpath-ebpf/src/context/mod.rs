//! The packet, the settings and the working memory that every stage of a TC program uses.

mod new_flow;

use netpath_common::{
    addr::{Addr, MacAddr},
    maps::{Config, FragmentKey, KnownDatagram, PendingDatagram, PublishedRange},
};

pub use self::new_flow::{LocalEnd, NewFlow, Opening, SourcePort};
#[cfg(target_arch = "bpf")]
use crate::maps::map;
use crate::{
    helpers::Route,
    maps::{self, PerCpuArray},
    packet::skb::Skb,
    parse::{ETHERNET, Parsed},
};

#[cfg_attr(target_arch = "bpf", map(name = "workspace"))]
static WORKSPACE: PerCpuArray<Workspace> = PerCpuArray::with_max_entries(1, 0);

/// Memory of a program in addition to the 512 bytes of stack; one for each CPU.
///
/// TC programs run with bottom halves disabled. A program runs inside another one only if the outer program sends a copy of
/// the packet through a hook. After that, the outer program reads only [`FragmentScratch`].
#[repr(C)]
struct Workspace {
    parsed: Parsed,
    scratch: Scratch,
}

/// Memory for intermediate results.
#[repr(C)]
pub struct Scratch {
    /// Whether the sandbox forwards the packet from a host that netpath does not know; see `path::forwarded`.
    pub is_beyond: bool,
    /// The link-local address that is checked.
    pub link: Addr,
    /// The packet that an ICMP error quotes.
    pub quote: Parsed,
    /// The published range that contains the packet's destination.
    pub published: PublishedRange,
    /// The route of the packet.
    pub route: RouteScratch,
    /// The tunnel packet that the packet becomes, or that contains it.
    pub tunnel: TunnelScratch,
    /// The flow that is being opened.
    pub flow: NewFlow,
    /// State of the packet's datagram, if the packet is a fragment.
    pub fragment: FragmentScratch,
}

/// The route of a packet that leaves the node.
#[repr(C)]
pub struct RouteScratch {
    /// Source address of the lookup.
    pub source: Addr,
    /// The result of the last lookup.
    pub found: Route,
}

/// A tunnel packet.
#[repr(C)]
pub struct TunnelScratch {
    /// Its own headers: family, addresses, ports, type of service.
    pub outer: Parsed,
    /// Index of the network, of a tunnel packet that was received.
    pub network: u32,
    /// Identifier of the network, of a tunnel packet that is sent.
    pub vni: u32,
    /// Bytes on the wire from its network header on, of a tunnel packet that is sent; for a GSO packet, bytes of one segment.
    pub length: u32,
    /// MAC address of a sandbox on another node, for which it was looked up.
    pub mac: MacAddr,
    /// The Ethernet header of the packet inside.
    pub ethernet: [u8; ETHERNET],
}

/// Intermediate results about a fragment.
///
/// The program that sends buffered fragments reads [`PendingDatagram::sequences`] while nested programs run on the same CPU.
/// A nested program overwrites the sequences only if another CPU buffers a fragment of the same datagram at the same time;
/// then other fragments of that datagram are sent. All fields are numbers, which are checked before they are used.
#[repr(C)]
pub struct FragmentScratch {
    /// The key of a datagram.
    pub key: FragmentKey,
    /// A datagram whose first fragment was seen.
    pub known: KnownDatagram,
    /// A datagram whose first fragment has not arrived.
    pub pending: PendingDatagram,
}

/// The packet, the settings and the working memory of a TC program.
pub struct Context {
    /// The packet.
    pub skb: Skb,
    /// The settings of the node.
    pub config: &'static Config,
    /// The parsed packet. It is in a map and not on the stack: the verifier tracks every field on the stack and would follow
    /// the rest of the program once for each combination of values.
    pub parsed: &'static mut Parsed,
    /// Memory for intermediate results.
    pub scratch: &'static mut Scratch,
}

impl Context {
    /// The context for a packet. Never `None` at run time: every entry of an array map exists.
    #[inline(always)]
    pub fn new(skb: Skb) -> Option<Self> {
        let config = maps::config()?;
        let workspace = WORKSPACE.get_ptr_mut(0)?;
        // SAFETY: no other program uses this CPU's workspace until this one ends, except as `Workspace` says, and a program
        // or stage calls this once. All-zero bytes are a valid value of each type.
        let workspace = unsafe { &mut *workspace };
        Some(Self {
            skb,
            config,
            parsed: &mut workspace.parsed,
            scratch: &mut workspace.scratch,
        })
    }
}
