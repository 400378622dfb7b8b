//! What the running kernel can do, asked by behaviour: distributions backport features, so its version says little.

use std::{collections::BTreeMap, path::Path, time::Duration};

use aya::{
    EbpfLoader,
    programs::{Program, SchedClassifier},
};
use netpath_common::probe::{CHECKSUM, Question, ROUTE, UNKNOWN_FLAG};

use super::{
    DatapathError,
    attach::Mode,
    load::{classifier, refused},
    object,
    run::{Trial, run},
    sys,
};

/// The program that makes helper calls for user space.
pub(super) const PROBE: &str = "probe";

/// `BPF_FIB_LOOKUP_SKIP_NEIGH` (Linux 6.3): the redirect resolves the neighbour.
pub(super) const SKIP_NEIGHBOUR: u32 = 1 << 2;
/// `BPF_FIB_LOOKUP_SRC` (Linux 6.7): the look-up returns a source address.
pub(super) const SOURCE: u32 = 1 << 4;
/// `BPF_FIB_LOOKUP_MARK` (Linux 6.10): the look-up follows rules for the packet's mark.
pub(super) const MARK: u32 = 1 << 5;
/// `BPF_F_IPV6` of `bpf_l4_csum_replace` (Linux 6.16).
pub(super) const CHECKSUM_IPV6: u32 = 1 << 7;

/// Optional features of the running kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// TCX links; without them programs are filters of the clsact qdisc.
    pub tcx: bool,
    /// Route look-ups without a neighbour entry; without them the result is the same, found more slowly.
    pub skip_neighbour: bool,
    /// Route look-ups that return a source address; without them outbound flows have the first address of the uplink.
    pub source: bool,
    /// Route look-ups that follow rules for the packet's mark; without them those rules do not apply.
    pub mark: bool,
    /// Transport checksums of IPv6 that stay right for packets with a complete checksum; without this the programs
    /// correct the checksum themselves.
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
                "the redirect resolves neighbours that the look-up does not know",
            ),
            (
                "route-source",
                self.source,
                "outbound flows have the first address of the uplink, the 'src' of a route is not used",
            ),
            (
                "route-mark",
                self.mark,
                "policy rules with 'fwmark' do not apply to redirected packets",
            ),
            (
                "ipv6-checksum-flag",
                self.checksum_ipv6,
                "programs correct complete checksums themselves",
            ),
        ]
    }

    /// Asks the kernel through the loaded program [`PROBE`].
    pub(super) fn probe(program: &mut SchedClassifier) -> Result<Self, DatapathError> {
        let mut knows = |helper, flags| knows(program, Question { helper, flags });
        Ok(Self {
            tcx: Mode::probe() == Mode::Tcx,
            skip_neighbour: knows(ROUTE, SKIP_NEIGHBOUR)?,
            source: knows(ROUTE, SOURCE)?,
            mark: knows(ROUTE, MARK)?,
            checksum_ipv6: knows(CHECKSUM, CHECKSUM_IPV6)?,
        })
    }
}

/// What a program costs to load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadCost {
    /// Instructions that the verifier followed.
    pub verified: u32,
    /// Instructions that the kernel runs.
    pub translated: u32,
    /// CPU time, most of it the verifier's.
    pub time: Duration,
}

/// What loading every program of an object came to.
#[derive(Debug)]
pub struct LoadReport {
    /// Each program by name, with what it costs or why the kernel rejects it.
    pub programs: BTreeMap<String, Result<LoadCost, DatapathError>>,
    /// What the kernel can do; `None` if the program that asks is rejected.
    pub features: Option<Features>,
}

/// Loads every program of this binary's object once, with small maps that are pinned below `bpf_dir`.
///
/// # Errors
/// If the maps cannot be created. A rejected program is no error. Needs Linux 5.16 for the number of instructions.
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
    let info = match program {
        Program::SchedClassifier(program) => program.load().and_then(|()| program.info()),
        Program::CgroupSockAddr(program) => program.load().and_then(|()| program.info()),
        _ => return Err(DatapathError::Missing(format!("use for program '{name}'"))),
    };
    let info = info.map_err(|error| refused(name, error))?;
    let count = |count: Option<u32>| {
        count.ok_or_else(|| DatapathError::Missing(format!("size of program '{name}'")))
    };
    Ok(LoadCost {
        verified: count(info.verified_instruction_count())?,
        translated: count(info.size_translated())? / INSTRUCTION_BYTES,
        time: sys::thread_time().saturating_sub(start),
    })
}

/// Bytes of an instruction.
const INSTRUCTION_BYTES: u32 = 8;

/// Whether a helper accepts flags. Anything but "unknown flag" is an answer to the call itself.
fn knows(program: &mut SchedClassifier, question: Question) -> Result<bool, DatapathError> {
    /// The kernel refuses packets that are shorter than an Ethernet header.
    const LENGTH: usize = 64;
    let mut packet = [0; LENGTH];
    let bytes = [question.helper, question.flags].map(u32::to_ne_bytes);
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
