//! Optional features of the running kernel, detected by probing: distributions backport features to older versions.

use std::{collections::BTreeMap, path::Path, time::Duration};

use aya::{
    EbpfLoader,
    programs::{Program, SchedClassifier},
};
use netpath_common::probe::{CHECKSUM, ProbeRequest, ROUTE, UNKNOWN_FLAG};

use super::{
    DatapathError,
    attach::Mode,
    object,
    programs::{PROBE, classifier, load_one, refused},
    run::{Trial, run},
    sys,
};

/// `BPF_FIB_LOOKUP_SKIP_NEIGH` (Linux 6.3): the redirect resolves the neighbour.
pub(super) const SKIP_NEIGHBOUR: u32 = 1 << 2;
/// `BPF_FIB_LOOKUP_SRC` (Linux 6.7): the lookup returns a source address.
pub(super) const SOURCE: u32 = 1 << 4;
/// `BPF_FIB_LOOKUP_MARK` (Linux 6.10): the lookup applies policy rules for the packet's mark.
pub(super) const MARK: u32 = 1 << 5;
/// `BPF_F_IPV6` of `bpf_l4_csum_replace` (Linux 6.16).
pub(super) const CHECKSUM_IPV6: u32 = 1 << 7;

/// Optional features of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// TCX links; without them programs are filters of the clsact qdisc.
    pub tcx: bool,
    /// Route lookups without a neighbour lookup. Without this flag, the lookup has the same result and takes longer.
    pub skip_neighbour: bool,
    /// Route lookups that return the preferred source address. Without them, outbound flows use the `src` of the
    /// uplink's default route, otherwise its first usable address.
    pub source: bool,
    /// Route lookups that apply policy rules for the packet's mark. Without them, those rules do not apply.
    pub mark: bool,
    /// Updates of IPv6 transport checksums that keep the checksum of the whole packet (`CHECKSUM_COMPLETE`) valid. Without
    /// this flag, the programs correct that checksum.
    pub checksum_ipv6: bool,
}

impl Features {
    /// Each feature with the name that `status` shows, whether the kernel has it, and what replaces it.
    pub const fn list(self) -> [(&'static str, bool, &'static str); 5] {
        [
            ("tcx", self.tcx, "programs are filters of the clsact qdisc"),
            (
                "route-skip-neighbour",
                self.skip_neighbour,
                "the redirect resolves neighbours that the lookup does not find",
            ),
            (
                "route-source",
                self.source,
                "outbound flows use the 'src' of the uplink's default route, otherwise its first usable address",
            ),
            (
                "route-mark",
                self.mark,
                "policy rules with 'fwmark' do not apply to redirected packets",
            ),
            (
                "ipv6-checksum-flag",
                self.checksum_ipv6,
                "the programs correct checksums of whole packets (CHECKSUM_COMPLETE)",
            ),
        ]
    }

    /// Probes the kernel with the loaded program [`PROBE`].
    pub(super) fn probe(program: &mut SchedClassifier) -> Result<Self, DatapathError> {
        let mut accepts_flags =
            |helper, flags| accepts_flags(program, ProbeRequest { helper, flags });
        Ok(Self {
            tcx: Mode::probe() == Mode::Tcx,
            skip_neighbour: accepts_flags(ROUTE, SKIP_NEIGHBOUR)?,
            source: accepts_flags(ROUTE, SOURCE)?,
            mark: accepts_flags(ROUTE, MARK)?,
            checksum_ipv6: accepts_flags(CHECKSUM, CHECKSUM_IPV6)?,
        })
    }
}

/// Cost of loading a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadCost {
    /// Instructions that the verifier processed.
    pub verified: u32,
    /// Instructions of the translated program.
    pub translated: u32,
    /// CPU time, most of it the verifier's.
    pub time: Duration,
}

/// Result of loading every program of an object.
#[derive(Debug)]
pub struct LoadReport {
    /// Each program by name, with its cost or the error with which the kernel rejects it.
    pub programs: BTreeMap<String, Result<LoadCost, DatapathError>>,
    /// Optional features of the kernel; `None` if the kernel rejects the probe program.
    pub features: Option<Features>,
}

/// Loads every program of this binary's object once, with small maps that are pinned below `bpf_dir`.
///
/// # Errors
/// If the maps cannot be created. A rejected program is part of the report, not an error. The number of instructions needs Linux 5.16.
pub fn load_all(bpf_dir: &Path) -> Result<LoadReport, DatapathError> {
    let mut ebpf = EbpfLoader::new()
        .default_map_pin_directory(bpf_dir)
        .load(object::bytes()?)?;
    let programs = ebpf.programs_mut();
    let programs = programs.map(|(name, program)| (name.to_owned(), load(name, program)));
    let programs: BTreeMap<_, _> = programs.collect();
    let probe = classifier(&mut ebpf, PROBE)?;
    let features = match programs.get(PROBE) {
        Some(Ok(_)) => Some(Features::probe(probe)?),
        _ => None,
    };
    Ok(LoadReport { programs, features })
}

fn load(name: &str, program: &mut Program) -> Result<LoadCost, DatapathError> {
    let start = sys::thread_time();
    load_one(name, program)?;
    let info = program.info().map_err(|error| refused(name, error))?;
    let count = |count: Option<u32>| {
        count.ok_or_else(|| {
            DatapathError::Missing(format!("instruction count for program '{name}'"))
        })
    };
    Ok(LoadCost {
        verified: count(info.verified_instruction_count())?,
        translated: count(info.size_translated())? / INSTRUCTION_BYTES,
        time: sys::thread_time().saturating_sub(start),
    })
}

/// Bytes of an instruction.
const INSTRUCTION_BYTES: u32 = 8;

/// Whether a helper accepts flags: it does unless the result is [`UNKNOWN_FLAG`].
fn accepts_flags(
    program: &mut SchedClassifier,
    request: ProbeRequest,
) -> Result<bool, DatapathError> {
    /// Length of the packet. The kernel refuses test runs with less than an Ethernet header.
    const LENGTH: usize = 64;
    let mut packet = [0; LENGTH];
    let bytes = [request.helper, request.flags].map(u32::to_ne_bytes);
    for (place, byte) in packet.iter_mut().zip(bytes.as_flattened()) {
        *place = *byte;
    }
    let trial = Trial {
        packet: &packet,
        ..Trial::default()
    };
    let outcome = run(program, PROBE, &trial)?;
    Ok(outcome.verdict.cast_signed() != UNKNOWN_FLAG)
}
