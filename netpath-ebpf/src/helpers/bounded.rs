//! Lengths whose range the verifier of every kernel can prove.

use core::arch::asm;

/// `length` in bytes if it is in `1..=MAX`, in a register with that range for the verifier.
///
/// A helper that takes a buffer and a length accepts only a length with a proven lower bound of 1 and an upper bound of
/// the buffer's size. A comparison in Rust does not carry that proof: the compiler merges it with other comparisons, and
/// the verifiers of Linux 6.1 and 6.12 lose the range of a 32-bit value that is stored on the stack.
///
/// Both bounds come from instructions that the compiler can neither merge nor separate: `length - 1` is compared as an
/// unsigned 64-bit number, so zero wraps around and is excluded, and 1 is added to the compared register. Call this function
/// directly before the helper.
#[inline(always)]
pub fn bounded<const MAX: usize>(length: u32) -> Option<u32> {
    let mut value = length as u64;
    // SAFETY: arithmetic on one register.
    unsafe {
        asm!("{0} += -1", inout(reg) value, options(pure, nomem, nostack));
    }
    if value >= MAX as u64 {
        return None;
    }
    // SAFETY: as above.
    unsafe {
        asm!("{0} += 1", inout(reg) value, options(pure, nomem, nostack));
    }
    Some(value as u32)
}
