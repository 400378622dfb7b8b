//! The rate of an endpoint.
//!
//! ```text
//! to the sandbox     redirect ─► queueing discipline of the host interface, which delays packets
//! from the sandbox   is_within ─► drop
//! ```
//!
//! The queues of the container link belong to the workload, so excess packets can only be dropped. `sent_until` is the time when a
//! link with the rate of the endpoint would have transmitted everything that the sandbox has sent. A packet is sent if that time
//! has passed, and advances it by its own transmission time. So a GSO packet of any size is sent as a whole, and later packets are
//! dropped until `sent_until`. After a pause, `sent_until` is at most `burst` in the past.

use netpath_common::maps::Endpoint;

use super::wire_length;
use crate::{
    context::Context,
    helpers, maps,
    packet::{Packet, skb::Skb},
    stage::stage,
};

const BITS: u64 = 8;
const SECOND: u64 = 1_000_000_000;

stage! {
    /// Whether the endpoint in `slot`, which has a rate, may send the packet.
    pub fn is_within(context: &mut Context, slot: u32) -> bool {
        let (Some(endpoint), Some(sent_until)) = (maps::endpoint(slot), maps::sent_until(slot)) else {
            return true;
        };
        let now = helpers::precise_now();
        if helpers::raise_u64(sent_until, now.saturating_sub(endpoint.burst)) > now {
            return false;
        }
        let bits = bytes_on_wire(context) * BITS;
        helpers::add_u64(sent_until, bits * SECOND / endpoint.rate.max(1));
        true
    }
}

/// Bytes of the frames of a packet, of which a GSO packet has one for each segment.
#[inline(always)]
fn bytes_on_wire(context: &Context) -> u64 {
    let (skb, parsed) = (&context.skb, &*context.parsed);
    let payload = skb.segment_size();
    let length = skb.len() as u64;
    if payload == 0 {
        return length;
    }
    let headers = parsed.l3 + wire_length(skb, parsed) - payload;
    length + (skb.segments() - 1) * headers as u64
}

/// Sends the packet to a sandbox: into its namespace, or, if its endpoint has a rate, through the queueing discipline of the
/// host interface.
#[inline(always)]
pub fn redirect(skb: &Skb, endpoint: &Endpoint) {
    if endpoint.is_limited() {
        skb.note_secret();
        helpers::redirect_to_device(skb, endpoint.ifindex);
    } else {
        helpers::redirect_to_peer(skb, endpoint.ifindex);
    }
}
