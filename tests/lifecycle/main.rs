//! The daemon's life: what goes on without it, what it takes over, what ends with what, and how much it can carry.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking with what was expected"
)]

mod endings;
mod scale;
mod takeover;
mod teardown;
