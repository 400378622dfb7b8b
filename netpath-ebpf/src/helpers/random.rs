//! Random numbers.

use aya_ebpf::helpers::bpf_get_prandom_u32;

/// 32 pseudo-random bits.
#[inline(always)]
pub fn random_u32() -> u32 {
    // SAFETY: plain helper call.
    unsafe { bpf_get_prandom_u32() }
}
