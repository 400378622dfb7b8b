//! Loading of the object's programs into the kernel.
//!
//! The verifier needs most of the time of a start. So the programs are verified in parallel, and pinned in a directory whose
//! name identifies the object and the maps that they use. A daemon that starts with the same object and maps takes the
//! programs from there.

use std::{
    collections::BTreeSet,
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::Path,
    thread,
};

use aya::{
    Ebpf,
    maps::MapInfo,
    programs::{CgroupSockAddr, CgroupSockAddrAttachType, Program, ProgramError, SchedClassifier},
};

use super::{DatapathError, object, pins};
use crate::plan::{Hook, LinkHeader};

/// The program that removes idle flows.
pub(super) const SWEEP: &str = "sweep";

/// The program that calls helpers on behalf of user space.
pub(super) const PROBE: &str = "probe";

/// The programs for sockets of host processes.
pub(super) const SOCKET_PROGRAMS: [(&str, CgroupSockAddrAttachType); 10] = [
    ("bind4", CgroupSockAddrAttachType::Bind4),
    ("bind6", CgroupSockAddrAttachType::Bind6),
    ("connect4", CgroupSockAddrAttachType::Connect4),
    ("connect6", CgroupSockAddrAttachType::Connect6),
    ("sendmsg4", CgroupSockAddrAttachType::UDPSendMsg4),
    ("sendmsg6", CgroupSockAddrAttachType::UDPSendMsg6),
    ("recvmsg4", CgroupSockAddrAttachType::UDPRecvMsg4),
    ("recvmsg6", CgroupSockAddrAttachType::UDPRecvMsg6),
    ("getpeername4", CgroupSockAddrAttachType::GetPeerName4),
    ("getpeername6", CgroupSockAddrAttachType::GetPeerName6),
];

/// Names of the programs that are attached to devices.
pub(super) fn device_programs() -> BTreeSet<&'static str> {
    let hooks = Hook::ALL.into_iter();
    hooks
        .flat_map(|hook| LinkHeader::ALL.map(|header| hook.program_for(header)))
        .collect()
}

/// Loads every program except those of XDP. With `reuse`, takes programs from their pins, and pins the others.
///
/// A program from a pin has only the first 15 bytes of its name. So it cannot be attached as a filter, which has the name of its
/// program.
///
/// # Errors
/// If the kernel rejects a program, or a pin cannot be created or removed.
pub(super) fn load(ebpf: &mut Ebpf, bpf_dir: &Path, reuse: bool) -> Result<(), DatapathError> {
    let mut wanted = device_programs();
    wanted.extend([SWEEP, PROBE]);
    wanted.extend(SOCKET_PROGRAMS.map(|(name, _)| name));
    if let Some(absent) = wanted.iter().find(|name| ebpf.program(name).is_none()) {
        return Err(DatapathError::Missing(format!("program '{absent}'")));
    }
    let directory = pins::programs_dir(bpf_dir, identity(ebpf, bpf_dir)?);
    let programs = ebpf.programs_mut();
    let mut programs: Vec<_> = programs.filter(|(name, _)| wanted.contains(name)).collect();
    if reuse {
        programs.retain_mut(|(name, program)| !take(name, program, &directory));
    }
    verify(&mut programs)?;
    if reuse {
        pin(&mut programs, &directory)?;
    }
    pins::remove_programs(bpf_dir, |other| !reuse || other != directory)
}

/// A number that differs if the object or one of the pinned maps differs.
fn identity(ebpf: &Ebpf, bpf_dir: &Path) -> Result<u64, DatapathError> {
    let maps = pins::maps_dir(bpf_dir);
    let names: BTreeSet<_> = ebpf.maps().map(|(name, _)| name).collect();
    let mut hasher = DefaultHasher::new();
    object::bytes()?.hash(&mut hasher);
    for name in names {
        let pin = maps.join(name);
        if pin.exists() {
            let info = MapInfo::from_pin(pin).map_err(|source| DatapathError::Map {
                map: "pinned",
                source,
            })?;
            (name, info.id()).hash(&mut hasher);
        }
    }
    Ok(hasher.finish())
}

/// Replaces a program of the object by the pinned one. `false` if there is none.
fn take(name: &str, program: &mut Program, directory: &Path) -> bool {
    let pin = directory.join(name);
    if !pin.exists() {
        return false;
    }
    let socket = SOCKET_PROGRAMS.iter().find(|(other, _)| *other == name);
    let pinned = match socket {
        Some((_, kind)) => CgroupSockAddr::from_pin(pin, *kind).map(Program::CgroupSockAddr),
        None => SchedClassifier::from_pin(pin).map(Program::SchedClassifier),
    };
    match pinned {
        Ok(pinned) => *program = pinned,
        Err(error) => {
            tracing::warn!(program = name, %error, "a pinned program cannot be opened; it is loaded again");
            return false;
        }
    }
    true
}

/// Loads programs into the kernel, on as many threads as there are processors.
fn verify(programs: &mut [(&str, &mut Program)]) -> Result<(), DatapathError> {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let queue = std::sync::Mutex::new(programs.iter_mut());
    let work = || {
        loop {
            // The lock is released before the program is loaded.
            let next = queue.lock().map_or(None, |mut queue| queue.next());
            let Some((name, program)) = next else {
                return Ok(());
            };
            load_one(name, program)?;
        }
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| match worker.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        // Every thread ends before the first error is returned.
        results.collect::<Vec<_>>().into_iter().collect()
    })
}

/// Loads a program into the kernel.
pub(super) fn load_one(name: &str, program: &mut Program) -> Result<(), DatapathError> {
    let loaded = match program {
        Program::SchedClassifier(program) => program.load(),
        Program::CgroupSockAddr(program) => program.load(),
        Program::Xdp(program) => program.load(),
        _ => {
            return Err(DatapathError::Missing(format!(
                "supported type for program '{name}'"
            )));
        }
    };
    loaded.map_err(|source| refused(name, source))
}

/// Pins programs for the next start.
fn pin(programs: &mut [(&str, &mut Program)], directory: &Path) -> Result<(), DatapathError> {
    fs::create_dir_all(directory).map_err(|source| DatapathError::File {
        action: "create",
        path: directory.to_owned(),
        source,
    })?;
    for (name, program) in programs {
        let pin = directory.join(&**name);
        pins::remove(&pin)?;
        program.pin(pin).map_err(|source| DatapathError::Pin {
            link: format!("program {name}"),
            source,
        })?;
    }
    Ok(())
}

/// A TC program of the object.
pub(super) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, DatapathError> {
    program(ebpf, name)?
        .try_into()
        .map_err(|source| refused(name, source))
}

/// A socket-address program of the object.
pub(super) fn socket_program<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut CgroupSockAddr, DatapathError> {
    program(ebpf, name)?
        .try_into()
        .map_err(|source| refused(name, source))
}

pub(super) fn program<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut Program, DatapathError> {
    ebpf.program_mut(name)
        .ok_or_else(|| DatapathError::Missing(format!("program '{name}'")))
}

/// The error of a program that the kernel rejects, or that cannot be attached or run.
pub(super) fn refused(name: &str, source: ProgramError) -> DatapathError {
    match source {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => DatapathError::Rejected {
            program: name.to_owned(),
            reason: rejection_reason(&verifier_log.to_string())
                .map_or_else(|| io_error.to_string(), str::to_owned),
        },
        source => DatapathError::Program {
            program: name.to_owned(),
            source: Box::new(source),
        },
    }
}

/// The line of the verifier's log that gives the cause: the last one before the statistics.
fn rejection_reason(log: &str) -> Option<&str> {
    const STATISTICS: [&str; 4] = [
        "processed ",
        "verification time ",
        "stack depth ",
        "max_states",
    ];
    let is_statistics =
        |line: &&str| !STATISTICS.iter().any(|start| line.starts_with(start)) && !line.is_empty();
    log.lines().map(str::trim).rfind(is_statistics)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejection_reason_is_read_from_verifier_log() {
        let log = "0: (79) r6 = *(u64 *)(r1 +0)\n\
                   R4 invalid zero-sized read: u64=[0,4294967295]\n\
                   processed 12 insns (limit 1000000) max_states_per_insn 0 total_states 1\n\
                   stack depth 8\n";
        assert_eq!(
            rejection_reason(log),
            Some("R4 invalid zero-sized read: u64=[0,4294967295]")
        );
        assert_eq!(rejection_reason(""), None);
    }
}
