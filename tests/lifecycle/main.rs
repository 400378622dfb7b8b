//! The daemon's lifecycle: traffic without it, takeover at start, sandboxes that end, teardown, and scale.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking with what was expected"
)]

mod endings;
mod scale;
mod takeover;
mod teardown;
