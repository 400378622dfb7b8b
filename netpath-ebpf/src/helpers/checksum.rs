//! Probes of checksum updates; `packet::skb` updates the checksums of packets.

use aya_ebpf::helpers::generated::bpf_l4_csum_replace;

use crate::packet::skb::Skb;

/// The result of the checksum helper for a difference of zero at `offset` with these flags.
#[inline(always)]
pub fn probe_checksum(skb: &Skb, offset: usize, flags: u32) -> i32 {
    // SAFETY: plain helper call on the program's own context; a difference of zero changes nothing.
    unsafe { bpf_l4_csum_replace(skb.as_ptr(), offset as u32, 0, 0, flags as u64) as i32 }
}
