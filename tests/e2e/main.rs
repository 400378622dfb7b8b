//! The daemon in network namespaces, with clients and servers.
#![expect(
    clippy::expect_used,
    reason = "what tests share fails as they do, by panicking with what was expected"
)]

mod allow;
mod dump;
mod filters;
mod isolation;
mod origins;
mod outbound;
mod quota;
mod ranges;
mod redis;
mod transfer;
mod web;
