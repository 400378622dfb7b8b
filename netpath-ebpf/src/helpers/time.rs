//! The clock.

use aya_ebpf::helpers::generated::bpf_ktime_get_coarse_ns;

/// Coarse monotonic nanoseconds: the resolution of a tick, without a read of the clock source.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: plain helper call.
    unsafe { bpf_ktime_get_coarse_ns() }
}
