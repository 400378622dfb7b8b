//! Hosts, links, processes, captures, and the daemon under test.

pub mod capture;
pub mod checks;
pub mod cluster;
pub mod daemon;
pub mod fixture;
pub mod netns;
pub mod output;
pub mod peer;
pub mod process;
pub mod prog;
pub mod sockets;
pub mod stores;
pub mod table;
pub mod tunnel;
pub mod wire;
pub mod workspace;

use std::{
    thread,
    time::{Duration, Instant},
};

/// Waits until a condition holds, checking it every 50 ms; panics after `limit` seconds.
#[track_caller]
pub fn eventually(what: &str, limit: u64, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(limit) * workspace::slowdown(),
            "not within {limit} s: {what}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}
