//! What every stage of a TC program works on.

mod new_flow;

use netpath_common::maps::{Config, FragmentKey, KnownDatagram, PendingDatagram, PublishedRange};

pub use self::new_flow::{LocalEnd, NewFlow, Opening, SourcePort};
#[cfg(target_arch = "bpf")]
use crate::maps::map;
use crate::{
    maps::{self, PerCpuArray},
    packet::skb::Skb,
    parse::Parsed,
};

#[cfg_attr(target_arch = "bpf", map(name = "workspace"))]
static WORKSPACE: PerCpuArray<Workspace> = PerCpuArray::with_max_entries(1, 0);

/// Memory of a program beyond the 512 bytes of stack; one for each CPU.
///
/// TC programs run with bottom halves disabled. One runs inside another only when it sends a copy of a packet through a
/// hook, after which the outer program reads only [`FragmentScratch`], which documents that.
#[repr(C)]
struct Workspace {
    parsed: Parsed,
    scratch: Scratch,
}

/// Memory for intermediate results.
#[repr(C)]
pub struct Scratch {
    /// The packet that an ICMP error quotes.
    pub quote: Parsed,
    /// The published range that contains the packet's destination.
    pub published: PublishedRange,
    /// A flow that is opened.
    pub flow: NewFlow,
    /// A fragment.
    pub fragment: FragmentScratch,
}

/// Memory for fragments beyond the stack.
///
/// The program that sends buffered fragments reads [`PendingDatagram::sequences`] while other programs run on the same CPU.
/// Such a program writes them only if another CPU buffers a fragment of the same datagram at that moment; then other
/// fragments of it are sent. All fields are numbers whose every value is checked.
#[repr(C)]
pub struct FragmentScratch {
    /// The key of a datagram.
    pub key: FragmentKey,
    /// A datagram whose first fragment was seen.
    pub known: KnownDatagram,
    /// A datagram whose first fragment has not arrived.
    pub pending: PendingDatagram,
}

/// What every stage of a TC program works on; obtained once for each packet.
pub struct Context {
    /// The packet.
    pub skb: Skb,
    /// The settings of the node.
    pub config: &'static Config,
    /// The parsed packet. In a map, not on the stack: the verifier would track every field on the stack and follow the rest
    /// of the program once for each combination of values.
    pub parsed: &'static mut Parsed,
    /// Memory for intermediate results.
    pub scratch: &'static mut Scratch,
}

impl Context {
    /// The context for a packet. `None` never happens: arrays have all their entries.
    #[inline(always)]
    pub fn new(skb: Skb) -> Option<Self> {
        let config = maps::config()?;
        let workspace = WORKSPACE.get_ptr_mut(0)?;
        // SAFETY: no other program uses this CPU's workspace until this one ends (see `Workspace`), and a program calls this
        // once. All zeroes is a value of each type.
        let workspace = unsafe { &mut *workspace };
        Some(Self {
            skb,
            config,
            parsed: &mut workspace.parsed,
            scratch: &mut workspace.scratch,
        })
    }
}
