//! The deny list of the node: packets from a denied address outside are not delivered to sandboxes, and packets of sandboxes
//! to such an address are dropped.
//!
//! The check follows the decision that a packet is for a sandbox, so packets of the host itself never match. It is repeated for
//! every packet, so packets of a flow that existed before its peer was denied, or that is created at that time, are dropped.

use crate::{
    context::Context,
    helpers, maps,
    stage::{enum_argument, stage},
};

/// The address of a packet that is checked.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Peer {
    Source,
    Destination,
}

enum_argument!(Peer: Source; Destination);

/// Whether the source of a packet is denied.
#[inline(always)]
pub fn is_source_denied(context: &mut Context) -> bool {
    context.config.denied != 0 && is_denied(context, Peer::Source)
}

/// Whether the destination of a packet is denied.
#[inline(always)]
pub fn is_destination_denied(context: &mut Context) -> bool {
    context.config.denied != 0 && is_denied(context, Peer::Destination)
}

stage! {
    fn is_denied(context: &mut Context, peer: Peer) -> bool {
        let key = &context.parsed.key;
        let address = match peer {
            Peer::Source => key.src,
            Peer::Destination => key.dst,
        };
        helpers::now() < maps::denied_until(address)
    }
}
