//! Distributed stores, with their real servers.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod consul;
mod daemon;
mod etcd;
mod failures;
mod security;
