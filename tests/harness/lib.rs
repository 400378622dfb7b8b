//! What tests with real namespaces share: hosts, cables, programs, captures, and the daemon under test.
//!
//! ```no_run
//! use netpath_tests::{Daemon, Topology};
//!
//! let topology = Topology::new();
//! let daemon = Daemon::start(&topology.host);
//! daemon.cli(&["network", "ls"]).success();
//! daemon.teardown();
//! ```
//!
//! Everything is uniquely named and goes when its guard is dropped, also when the test panics, so tests run in
//! parallel. Everything needs root and says so. What fails panics: a test has no better use for an error.
#![expect(
    clippy::expect_used,
    reason = "a harness fails as its tests do, by panicking with what was expected"
)]

mod capture;
mod checks;
mod daemon;
mod netns;
mod output;
pub mod packet;
mod process;
pub mod prog;
mod topology;
mod wire;
mod workspace;

#[cfg(test)]
mod tests;

pub use capture::Capture;
pub use checks::{assert_no_bad_checksums, assert_no_netfilter, counters, pin_names};
pub use daemon::{Daemon, DaemonBuilder};
pub use netns::{Netns, Transport};
pub use output::Output;
pub use process::Process;
pub use topology::{NO_OFFLOADS, Topology, TopologyBuilder};
pub use wire::{Wire, mac_of, scapy_frames};
pub use workspace::{artifacts, netpath_binary, slowdown};
