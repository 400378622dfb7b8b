//! Faults: repaired damage, crashes, reversed changes and refused input.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod class1_interfaces;
mod class5_identity;
mod crash;
mod repair;
mod rollback;
mod start;
mod store;
mod uplink;
