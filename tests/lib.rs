//! Code shared by the tests that need root: packets, network namespaces, the daemon under test, and the fixture.
//!
//! ```no_run
//! use netpath_tests::fixture::{Fixture, NETWORK_A, OUTSIDE};
//! use netpath_tests::peer;
//!
//! let fixture = Fixture::new();
//! fixture.network("network_a", NETWORK_A, &[]);
//! let client = fixture.sandbox("client", "network_a", &[]);
//! peer::assert_pings(&client.netns, [OUTSIDE.0, OUTSIDE.1], true);
//! fixture.assert_clean(&[&client]);
//! ```
//!
//! Every namespace, cgroup and directory has a unique name and is removed when its guard is dropped, also when the test
//! panics. Tests can therefore run in parallel. All of it needs root. A function that fails panics: a test cannot use an
//! error value.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

pub mod contract;
mod harness;
pub mod packet;

#[cfg(test)]
mod tests;

pub use harness::{
    capture::Capture,
    checks::{assert_no_bad_checksums, assert_no_netfilter, counters, pin_names},
    cluster,
    daemon::{Daemon, DaemonBuilder},
    eventually, fixture,
    netns::{Netns, Transport},
    output::Output,
    peer,
    process::Process,
    prog,
    sockets::connect_from,
    stores, table, tunnel,
    wire::{Wire, mac_of, scapy_frames},
    workspace::{artifacts, artifacts_of, netpath_binary, slowdown},
};
