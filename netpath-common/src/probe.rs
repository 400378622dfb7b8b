//! Questions about the kernel that only a helper call answers.
//!
//! User space writes a [`Question`] to the first bytes of a test run's packet; the program `probe` makes the call and
//! returns its result. A helper returns `-EINVAL` for a flag that it does not know, before it looks at anything else.

/// A helper call with some flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Question {
    /// [`ROUTE`] or [`CHECKSUM`].
    pub helper: u32,
    /// The flags of the call.
    pub flags: u32,
}

/// `bpf_fib_lookup`.
pub const ROUTE: u32 = 1;
/// `bpf_l4_csum_replace`.
pub const CHECKSUM: u32 = 2;

/// What a helper returns for a flag that it does not know.
pub const UNKNOWN_FLAG: i32 = -22;
