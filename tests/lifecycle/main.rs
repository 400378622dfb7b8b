//! The daemon's lifecycle: traffic without it, takeover at start, sandboxes that end, teardown, and scale.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod endings;
mod scale;
mod takeover;
mod teardown;
