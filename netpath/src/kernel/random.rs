//! Randomness.

/// A random number from the kernel.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the buffer has the length that is given. With so few bytes the call cannot be interrupted or fall short
    // (getrandom(2)), once the pool is initialised, which it waits for.
    unsafe {
        libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0);
    }
    u64::from_ne_bytes(bytes)
}
