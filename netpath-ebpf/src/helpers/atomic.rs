//! Atomic additions to map values.
//!
//! The BPF target has no `fetch_add` in `core::sync::atomic` (its `atomic-cas` is off), so this file uses the compiler's
//! intrinsics, whose signatures depend on the compiler's version.

use core::intrinsics::{AtomicOrdering, atomic_xadd};

/// Adds to a counter that other CPUs may change at the same time.
#[inline(always)]
pub fn add_u64(counter: *mut u64, amount: u64) {
    // SAFETY: callers pass a field of a map value, which is aligned and valid while the program runs.
    unsafe {
        atomic_xadd::<u64, u64, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}

/// Adds to a signed counter that other CPUs may change at the same time.
#[inline(always)]
pub fn add_i32(counter: *mut i32, amount: i32) {
    // SAFETY: as above.
    unsafe {
        atomic_xadd::<i32, i32, { AtomicOrdering::Relaxed }>(counter, amount);
    }
}

/// Adds to a counter that other CPUs may change at the same time; returns the value before the addition.
///
/// The order is not relaxed: LLVM compiles a relaxed addition to an instruction that returns nothing, even if the result is
/// used, and the result is then the amount.
#[inline(always)]
pub fn fetch_add_u32(counter: *mut u32, amount: u32) -> u32 {
    // SAFETY: as in `add_u64`.
    unsafe { atomic_xadd::<u32, u32, { AtomicOrdering::AcqRel }>(counter, amount) }
}

/// The value of a counter, which is raised to `least` if it is lower. An addition on another CPU at the same time may be lost.
#[inline(always)]
pub fn raise_u64(counter: *mut u64, least: u64) -> u64 {
    // SAFETY: as in `add_u64`.
    unsafe {
        let value = counter.read_volatile();
        if value >= least {
            return value;
        }
        counter.write_volatile(least);
    }
    least
}
