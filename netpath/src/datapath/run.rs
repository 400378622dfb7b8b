//! Test runs of programs on given packets, for tests and measurements.

use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};

use super::{
    Datapath, DatapathError,
    programs::{classifier, refused},
};

/// The input of a test run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trial<'a> {
    /// The packet, which starts with an Ethernet header.
    pub packet: &'a [u8],
    /// Interface that the packet passes, in the network namespace of the calling thread; 0 for the loopback device.
    pub ifindex: u32,
    /// Index of the ingress interface; 0 if the node sends the packet.
    pub ingress_ifindex: u32,
    /// Payload bytes of each segment of a GSO packet; 0 for other packets.
    pub gso_size: u32,
    /// Mark of the packet.
    pub mark: u32,
}

/// Result of a run.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Return value of the program.
    pub verdict: u32,
    /// The packet after the program.
    pub packet: Vec<u8>,
    /// Run time of the program.
    pub duration: Duration,
}

/// Offsets of fields in `struct __sk_buff`. The kernel requires that all other fields are zero.
const MARK: usize = 8;
const INGRESS_IFINDEX: usize = 36;
const IFINDEX: usize = 40;
const GSO_SIZE: usize = 176;
const CONTEXT: usize = 192;

/// Bytes by which a program may extend the packet.
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
