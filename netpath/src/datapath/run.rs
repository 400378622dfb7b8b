//! Test runs of programs on given packets, for tests and measurements.

use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

use super::{
    Datapath, DatapathError,
    load::{classifier, refused},
};

/// The input of a test run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial<'a> {
    /// The packet, from its Ethernet header on.
    pub packet: &'a [u8],
    /// Interface that the packet passes, in the network namespace of the calling thread; 0 for the loopback device.
    pub ifindex: u32,
    /// Index of the ingress interface; 0 if the packet is from the node.
    pub ingress_ifindex: u32,
    /// Bytes of a segment, if it is a GSO packet.
    pub gso_size: u32,
    /// Mark of the packet.
    pub mark: u32,
}

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// What the program returned.
    pub verdict: u32,
    /// The packet after the program.
    pub packet: Vec<u8>,
    /// Time that the program took.
    pub duration: Duration,
}

/// Offsets of fields in `struct __sk_buff`; the kernel requires that all others are zero.
const MARK: usize = 8;
const INGRESS_IFINDEX: usize = 36;
const IFINDEX: usize = 40;
const GSO_SIZE: usize = 176;
const CONTEXT: usize = 192;

/// Bytes by which a packet may grow.
const ROOM: usize = 256;

impl Datapath {
    /// Runs a TC program once.
    ///
    /// # Errors
    /// If there is no such program, or the kernel refuses the packet or the interface.
    pub fn run(&mut self, program: &str, trial: &Trial<'_>) -> Result<Outcome, DatapathError> {
        run(classifier(&mut self.ebpf, program)?, program, trial)
    }
}

/// Runs a loaded program once.
pub(super) fn run(
    program: &mut SchedClassifier,
    name: &str,
    trial: &Trial<'_>,
) -> Result<Outcome, DatapathError> {
    let mut context = [0; CONTEXT];
    for (offset, value) in [
        (MARK, trial.mark),
        (INGRESS_IFINDEX, trial.ingress_ifindex),
        (IFINDEX, trial.ifindex),
        (GSO_SIZE, trial.gso_size),
    ] {
        if let Some(field) = context.get_mut(offset..offset + 4) {
            field.copy_from_slice(&value.to_ne_bytes());
        }
    }
    let mut packet = vec![0; trial.packet.len() + ROOM];
    let options = TestRunOptions {
        data_in: Some(trial.packet),
        data_out: Some(&mut packet),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let result = program
        .test_run(options)
        .map_err(|source| refused(name, source))?;
    packet.truncate(result.data_size_out as usize);
    Ok(Outcome {
        verdict: result.return_value,
        packet,
        duration: result.duration,
    })
}
