//! Faults: repaired damage, crashes, reverted changes and refused input.
#![expect(
    clippy::expect_used,
    reason = "a test fails by panicking with what was expected"
)]

mod crash;
mod refused;
mod refused_http;
mod repair;
mod rollback;
mod start;
mod uplink;
