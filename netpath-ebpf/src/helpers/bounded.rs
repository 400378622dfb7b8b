//! Lengths whose range every verifier sees.

use core::arch::asm;

/// `length` in bytes if it is in `1..=MAX`, in a register whose range the verifier knows.
///
/// A helper that takes a buffer and a length accepts only a length with a proven lower bound of 1 and an upper bound of
/// the buffer's size. A comparison in Rust does not carry that proof: the compiler merges it with other comparisons, and
/// the verifiers of Linux 6.1 and 6.12 lose the range of a 32-bit value that is stored on the stack.
///
/// Both bounds come from instructions that the compiler can neither merge nor move apart: `length - 1` is compared
/// without sign in 64 bits, which excludes zero by wrapping, and 1 is added to the register that was compared. Call it
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
