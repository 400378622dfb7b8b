//! A release gate runs twice: with the kernel's default offloads, and with all offloads off.

use std::{panic::resume_unwind, thread};

use netpath_tests::fixture::{Fixture, Topology, TopologyBuilder};

/// Checksum, segmentation and receive offloads of every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// The kernel's defaults.
    Default,
    /// All off.
    Off,
}

impl Offloads {
    /// The plain topology.
    pub fn topology(self) -> TopologyBuilder {
        match self {
            Self::Default => Topology::builder(),
            Self::Off => Topology::builder().without_offloads(),
        }
    }

    /// A node on the plain topology.
    #[track_caller]
    pub fn fixture(self) -> Fixture {
        self.start(self.topology(), &[], "")
    }

    /// A node with this configuration on the plain topology.
    #[track_caller]
    pub fn configured(self, config: &str) -> Fixture {
        self.start(self.topology(), &[], config)
    }

    /// A node with these arguments and this configuration.
    #[track_caller]
    pub fn start(self, topology: TopologyBuilder, arguments: &[&str], config: &str) -> Fixture {
        self.start_on(topology.build(), arguments, config)
    }

    /// A node on an existing topology.
    #[track_caller]
    pub fn start_on(self, topology: Topology, arguments: &[&str], config: &str) -> Fixture {
        let mut fixture = Fixture::start(topology, arguments, config);
        fixture.offloads = self == Self::Default;
        fixture
    }
}

/// Runs parts of a gate at the same time, each on a node of its own. Most of their time is waiting.
pub fn run_in_parallel(offloads: Offloads, parts: &[fn(Offloads)]) {
    let name = thread::current().name().unwrap_or("unnamed").to_owned();
    thread::scope(|scope| {
        let spawn = |part: &fn(Offloads)| {
            let part = *part;
            // The thread's name determines the directory of artifacts.
            let named = thread::Builder::new().name(name.clone());
            named.spawn_scoped(scope, move || part(offloads))
        };
        let threads: Vec<_> = parts.iter().map(spawn).collect();
        for thread in threads {
            if let Err(panic) = thread.expect("a thread").join() {
                resume_unwind(panic);
            }
        }
    });
}

/// Defines a gate's two tests.
macro_rules! gate {
    ($($name:ident: $body:path;)+) => {
        $(
            mod $name {
                use crate::gate::Offloads;

                #[test]
                fn default_offloads() {
                    $body(Offloads::Default);
                }

                #[test]
                fn without_offloads() {
                    $body(Offloads::Off);
                }
            }
        )+
    };
}
