//! A real daemon in real namespaces, with real clients and servers.
#![expect(
    clippy::expect_used,
    reason = "what tests share fails as they do, by panicking with what was expected"
)]

mod peer;
mod stage;

mod allow;
mod direct;
mod dump;
mod iperf;
mod isolation;
mod mtu;
mod origins;
mod outbound;
mod quota;
mod ranges;
mod redis;
mod spoof;
mod transfer;
mod web;
