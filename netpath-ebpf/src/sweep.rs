//! Compare and delete, for the daemon.
//!
//! User space can read an entry and delete it, but not both at once: a flow that comes to life in between would be
//! lost. So the daemon names the flows it found idle together with the times it saw, in the bytes of a test run's
//! packet, and this program deletes those whose times still hold.

use aya_ebpf::helpers::bpf_skb_load_bytes;
use netpath_common::maps::{SWEEP_BATCH, SWEEP_HEADER, SweepRecord};

use crate::{
    conntrack,
    packet::{Packet, skb::Skb},
};

/// Deletes the named flows that are still idle; gives their number.
#[inline(always)]
pub fn run(skb: &Skb) -> i32 {
    let mut removed = 0;
    let mut offset = SWEEP_HEADER;
    for _ in 0..SWEEP_BATCH {
        if offset + size_of::<SweepRecord>() > skb.len() {
            break;
        }
        removed += one(skb, offset) as i32;
        offset += size_of::<SweepRecord>();
    }
    removed
}

#[inline(never)]
fn one(skb: &Skb, offset: usize) -> bool {
    let mut record = core::mem::MaybeUninit::<SweepRecord>::uninit();
    // SAFETY: the helper fills all bytes of `record` or fails; every bit pattern is a value.
    unsafe {
        let size = size_of::<SweepRecord>() as u32;
        if bpf_skb_load_bytes(
            skb.as_ptr().cast(),
            offset as u32,
            record.as_mut_ptr().cast(),
            size,
        ) != 0
        {
            return false;
        }
        conntrack::remove_if_idle(record.assume_init_ref())
    }
}
