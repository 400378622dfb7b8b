//! What makes a test a gate: it runs with the kernel's default offloads and with all of them off.

use netpath_tests::{Topology, TopologyBuilder};

use crate::stage::Stage;

/// Checksum, segmentation and receive offloads of every device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offloads {
    /// As the kernel sets them.
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
    pub fn stage(self) -> Stage {
        self.start(self.topology(), &[], "")
    }

    /// A node with this configuration on the plain topology.
    #[track_caller]
    pub fn configured(self, config: &str) -> Stage {
        self.start(self.topology(), &[], config)
    }

    /// A node with these arguments and this configuration.
    #[track_caller]
    pub fn start(self, topology: TopologyBuilder, arguments: &[&str], config: &str) -> Stage {
        self.start_on(topology.build(), arguments, config)
    }

    /// The same on a topology that stands already.
    #[track_caller]
    pub fn start_on(self, topology: Topology, arguments: &[&str], config: &str) -> Stage {
        let mut stage = Stage::configured(topology, arguments, config);
        stage.offloads = self == Self::Default;
        stage
    }
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
