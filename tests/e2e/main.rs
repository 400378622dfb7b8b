//! A real daemon in real namespaces, with real clients and servers.
#![expect(
    clippy::expect_used,
    reason = "what tests share fails as they do, by panicking with what was expected"
)]

mod peer;
mod stage;
mod town;

mod adopt;
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
