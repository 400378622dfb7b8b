//! Traffic between two programs or threads, one in each namespace, each on a core of its own if there are two.

pub mod frames;
pub mod http;
pub mod stream;
pub mod udp;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use netpath_tests::Netns;
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The two ends of a measurement.
pub struct Ends<'a> {
    /// The namespace in which connections are opened.
    pub client: &'a Netns,
    /// The client's address.
    pub source: IpAddr,
    /// The namespace in which connections are accepted.
    pub server: &'a Netns,
    /// The address that the server listens on.
    pub listen: SocketAddr,
    /// The address that the client connects to.
    pub target: SocketAddr,
}

/// The direction of a stream's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From the client.
    ToServer,
    /// To the client.
    ToClient,
}

/// Time before the measurement, in which neighbours are resolved, TCP windows open and caches fill.
const WARM_UP: Duration = Duration::from_millis(100);

/// The cores of client and server; the same one if there is only one.
fn cores() -> (usize, usize) {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    let first = cores.next().unwrap_or(0);
    (first, cores.next().unwrap_or(first))
}

/// Binds this thread to a core.
fn stay_on(core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a core");
    sched_setaffinity(Pid::from_raw(0), &set).expect("affinity");
}
