//! Probes for supported flags of BPF helpers.
//!
//! User space writes a [`ProbeRequest`] to the first bytes of a test run's packet; the program `probe` makes the call
//! and returns its result. A helper returns `-EINVAL` for an unsupported flag before it checks anything else.

/// The helper to call, and the flags of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ProbeRequest {
    /// [`ROUTE`] or [`CHECKSUM`].
    pub helper: u32,
    /// The flags of the call.
    pub flags: u32,
}

/// `bpf_fib_lookup`.
pub const ROUTE: u32 = 1;
/// `bpf_l4_csum_replace`.
pub const CHECKSUM: u32 = 2;

/// The result of a helper for an unsupported flag: `-EINVAL`.
pub const UNKNOWN_FLAG: i32 = -22;
