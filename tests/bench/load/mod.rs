//! Traffic: two programs, or two threads, one in each namespace and each on a core of its own if there are two.

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

/// Who talks to whom.
pub struct Ends<'a> {
    /// Where connections are opened.
    pub client: &'a Netns,
    /// With which of its addresses.
    pub source: IpAddr,
    /// Where they are accepted.
    pub server: &'a Netns,
    /// On which of its addresses: it answers from that one.
    pub listen: SocketAddr,
    /// Under which address the client knows the server.
    pub target: SocketAddr,
}

/// Which way the bytes of a stream go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// From who opened the connection.
    ToServer,
    /// To who opened it.
    ToClient,
}

/// Time before values count: neighbours are found, windows open, caches warm.
const WARM_UP: Duration = Duration::from_millis(100);

/// The cores for client and server; the same one if there is only one.
fn cores() -> (usize, usize) {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("affinity");
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap_or(false));
    let first = cores.next().unwrap_or(0);
    (first, cores.next().unwrap_or(first))
}

/// Keeps this thread on a core.
fn stay_on(core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a core");
    sched_setaffinity(Pid::from_raw(0), &set).expect("affinity");
}
