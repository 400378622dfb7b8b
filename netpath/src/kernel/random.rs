//! Randomness.

/// A random number from the kernel.
pub fn random() -> u64 {
    let mut bytes = [0; 8];
    // SAFETY: the buffer has the given length. The call waits until the pool is initialised. For at most 256 bytes it
    // is not interrupted after that and returns all of them (getrandom(2)).
    unsafe {
        libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0);
    }
    u64::from_ne_bytes(bytes)
}
