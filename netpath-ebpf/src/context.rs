//! What every stage of a TC program works on.

use netpath_common::maps::Config;

#[cfg(target_arch = "bpf")]
use crate::maps::map;
use crate::{
    conntrack::NewFlow,
    fragment,
    maps::{self, PerCpuArray},
    packet::skb::Skb,
    parse::Parsed,
};

#[cfg_attr(target_arch = "bpf", map(name = "workspace"))]
static WORKSPACE: PerCpuArray<Workspace> = PerCpuArray::with_max_entries(1, 0);

/// Memory of a program beyond the 512 bytes of stack; one for each CPU.
///
/// TC programs run with bottom halves disabled. One runs inside another only when it sends a copy of a packet through a
/// hook, after which the outer program reads only [`fragment::Scratch`], which documents that.
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
    /// A flow that is opened.
    pub flow: NewFlow,
    /// A fragment.
    pub fragment: fragment::Scratch,
}

/// What every stage of a TC program works on; obtained once for each packet.
pub struct Context<'a> {
    /// The packet.
    pub skb: &'a mut Skb,
    /// The settings of the node.
    pub config: &'static Config,
    /// The parsed packet. In a map, not on the stack: the verifier would track every field on the stack and follow the rest
    /// of the program once for each combination of values.
    pub parsed: &'static mut Parsed,
    /// Memory for intermediate results.
    pub scratch: &'static mut Scratch,
}

impl<'a> Context<'a> {
    /// The context for a packet. `None` never happens: arrays have all their entries.
    #[inline(always)]
    pub fn new(skb: &'a mut Skb) -> Option<Self> {
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
