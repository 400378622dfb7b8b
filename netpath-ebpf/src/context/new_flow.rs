//! The flow that is being opened.

use netpath_common::{
    flow::{DELIVER, FlowEntry, FlowKey, Kind},
    maps::Endpoint,
};

/// Memory for the creation of a flow.
#[repr(C)]
pub struct NewFlow {
    /// The tuple after translation.
    pub to: FlowKey,
    /// The tuple of replies.
    pub reply_key: FlowKey,
    /// The key of another flow, which may be evicted.
    pub other: FlowKey,
    /// The entry to insert.
    pub entry: FlowEntry,
    /// The local endpoints, and how the flow is translated.
    pub opening: Opening,
}

/// The local endpoints of a flow to be created, and how it is translated.
#[repr(align(8))]
pub struct Opening {
    /// Endpoint that sends or receives the packets of the original direction.
    pub original: LocalEnd,
    /// Endpoint that sends or receives the packets of the reply direction. The flow counts for its sandbox.
    pub reply: LocalEnd,
    /// How the flow is translated.
    pub kind: Kind,
    /// Which source ports the flow may have after translation.
    pub source: SourcePort,
    /// The port that the sandbox has published for the source port of the packet, which precedes all others; 0 if there is
    /// none.
    pub published: u16,
}

/// Which source ports a new flow may have after translation.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum SourcePort {
    /// Only the packet's source port.
    Keep,
    /// The packet's source port if its reply tuple is free, otherwise a port that SNAT may use.
    Prefer,
    /// A port that SNAT may use; the packet's source port is the first candidate.
    Choose,
}

/// The endpoint of this node that sends or receives the packets of one direction.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub struct LocalEnd {
    /// The endpoint's slot.
    pub slot: u32,
    /// The endpoint's generation.
    pub generation: u32,
    /// [`DELIVER`] or 0.
    pub deliver: u32,
}

impl LocalEnd {
    /// An endpoint to whose sandbox the packets are delivered.
    #[inline(always)]
    pub fn receiver(slot: u32, endpoint: &Endpoint) -> Self {
        Self {
            slot,
            generation: endpoint.generation,
            deliver: DELIVER as u32,
        }
    }

    /// The node itself, in slot 0.
    #[inline(always)]
    pub const fn node() -> Self {
        Self {
            slot: 0,
            generation: 0,
            deliver: 0,
        }
    }

    /// An endpoint whose packets leave the node.
    #[inline(always)]
    pub fn sender(slot: u32, endpoint: &Endpoint) -> Self {
        Self {
            slot,
            generation: endpoint.generation,
            deliver: 0,
        }
    }
}
