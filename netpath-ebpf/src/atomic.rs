//! Atomic additions to map values.
//!
//! The BPF target has no `fetch_add` in `core::sync::atomic` (its `atomic-cas` is off), so this one module reaches for
//! the compiler's intrinsics; their signatures change between compilers.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds to a counter that other CPUs add to as well.
#[inline(always)]
pub fn add_u64(counter: *mut u64, amount: u64) {
    // SAFETY: callers pass a field of a map value, aligned and alive for as long as the program runs.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}

/// The same for a signed one; the amount may be negative.
#[inline(always)]
pub fn add_i32(counter: *mut i32, amount: i32) {
    // SAFETY: as above.
    unsafe {
        atomic_xadd::<i32, i32, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}

/// Adds and gives the number before.
///
/// Not relaxed: LLVM turns a relaxed addition into the instruction that gives nothing back, whether or not its result
/// is used, and what was to be added stands in the result's place.
#[inline(always)]
pub fn fetch_add_u32(counter: *mut u32, amount: u32) -> u32 {
    // SAFETY: as in `add_u64`.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(counter, amount) }
}
