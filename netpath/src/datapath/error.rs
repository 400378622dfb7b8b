//! Errors of programs, maps and pins.

use std::{io, path::PathBuf};

use aya::{
    EbpfError,
    maps::MapError,
    pin::PinError,
    programs::{ProgramError, links::LinkError},
};

use crate::kernel;

/// An error of the datapath.
#[derive(Debug, thiserror::Error)]
pub enum DatapathError {
    /// The binary was built without the BPF object.
    #[error("this binary contains no BPF object; build it with 'cargo xtask build'")]
    NoObject,
    /// The directory for pins is not on a BPF file system.
    #[error("{} is not on a BPF file system; mount one with 'mount -t bpf bpf {}'", .0.display(), .0.display())]
    NotBpffs(PathBuf),
    /// A file or directory could not be handled.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// The attempted action, as the verb after "cannot".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The directory contains pins of another schema version.
    #[error("{} contains maps of another version of netpath; remove them with 'netpath teardown --force' (ends all flows)", .0.display())]
    OtherVersion(PathBuf),
    /// The layout of a pinned map differs from that of the object.
    #[error(
        "pinned map {name} has {found}, this version needs {expected}; remove it with 'netpath teardown --force'"
    )]
    Layout {
        /// Map.
        name: String,
        /// Layout of the pinned map.
        found: String,
        /// Layout of the object's map.
        expected: String,
    },
    /// The object could not be loaded.
    #[error("cannot load the BPF object: {0}")]
    Load(#[from] EbpfError),
    /// A program could not be loaded, attached or run.
    #[error("program {program}: {source}")]
    Program {
        /// Program.
        program: String,
        /// Cause.
        source: Box<ProgramError>,
    },
    /// The verifier rejects a program.
    #[error("the kernel rejects program {program}: {reason}")]
    Rejected {
        /// Program.
        program: String,
        /// Last line of the verifier's log, or the system's error if there is no log.
        reason: String,
    },
    /// A link could not be handled.
    #[error("link {link}: {source}")]
    Link {
        /// File name of its pin.
        link: String,
        /// Cause.
        source: LinkError,
    },
    /// A link could not be pinned.
    #[error("cannot pin link {link}: {source}")]
    Pin {
        /// File name of the pin.
        link: String,
        /// Cause.
        source: PinError,
    },
    /// The object lacks a program or map that this version needs.
    #[error("the BPF object has no {0}")]
    Missing(String),
    /// A map could not be used.
    #[error("map {map}: {source}")]
    Map {
        /// Map.
        map: &'static str,
        /// Cause.
        source: MapError,
    },
    /// A raw system call failed.
    #[error("{call} on {object}: {source}")]
    Syscall {
        /// Name of the system call.
        call: &'static str,
        /// The object of the call.
        object: String,
        /// Cause.
        source: io::Error,
    },
    /// An interface does not exist.
    #[error("no interface '{0}'")]
    NoInterface(String),
    /// The kernel has no TCX links.
    #[error("this kernel has no TCX links; set attach to 'auto' or 'filter'")]
    NoTcx,
    /// The qdisc at a device's ingress has no egress hook.
    #[error(
        "interface {interface} has the qdisc '{qdisc}', which has no egress hook; replace it with \
         'tc qdisc replace dev {interface} clsact'"
    )]
    NoEgressHook {
        /// Interface name.
        interface: String,
        /// Kind of the qdisc.
        qdisc: String,
    },
    /// Another tool's filter has netpath's priority and handle.
    #[error(
        "interface {interface} has a filter '{name}' at priority 1, handle 0x6e70, which is not netpath's"
    )]
    ForeignFilter {
        /// Interface name.
        interface: String,
        /// Name of the filter.
        name: String,
    },
    /// A filter still exists after its deletion.
    #[error("interface {0} still has its filter after the deletion")]
    FilterStays(String),
    /// The filters of a device could not be read.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
}

impl DatapathError {
    /// Whether a later attempt may succeed without a change by the user.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Syscall { source, .. } => {
                matches!(
                    source.raw_os_error(),
                    Some(libc::EAGAIN | libc::EINTR | libc::EBUSY | libc::ENOMEM)
                )
            }
            Self::Kernel(error) => error.can_retry(),
            Self::NoInterface(_) => true,
            _ => false,
        }
    }
}
