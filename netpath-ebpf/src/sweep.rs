//! Removal of idle flows on behalf of the daemon.
//!
//! User space cannot check an entry and delete it atomically: a packet in between would lose its flow. So the daemon selects
//! idle flows (`datapath/sweep.rs`) and passes their keys and last times in the packet of a test run. This program removes
//! those whose times have not changed.

use netpath_common::maps::{SWEEP_BATCH, SWEEP_HEADER, SweepRecord};

use crate::{
    conntrack, helpers,
    packet::{Packet, skb::Skb},
};

/// Removes the selected flows that are still idle; returns their number.
#[inline(always)]
pub fn remove_idle_flows(skb: &Skb) -> i32 {
    let mut removed = 0;
    let mut offset = SWEEP_HEADER;
    for _ in 0..SWEEP_BATCH {
        if offset + size_of::<SweepRecord>() > skb.len() {
            break;
        }
        removed += remove_flow_at(skb, offset) as i32;
        offset += size_of::<SweepRecord>();
    }
    removed
}

#[inline(never)]
fn remove_flow_at(skb: &Skb, offset: usize) -> bool {
    helpers::load_record(skb, offset, conntrack::remove_if_idle)
}
