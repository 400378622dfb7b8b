//! What can go wrong with programs, maps and pins.

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
    #[error("this binary holds no BPF object; build it with 'cargo xtask build'")]
    NoObject,
    /// The directory for pins is not usable.
    #[error("{} is not on a BPF file system; mount one with 'mount -t bpf bpf {}'", .0.display(), .0.display())]
    NotBpffs(PathBuf),
    /// A file or directory could not be handled.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// Pins of another schema version are there.
    #[error("{} holds maps of another version of netpath; remove them with 'netpath teardown --force' (ends all flows)", .0.display())]
    OtherVersion(PathBuf),
    /// A pinned map does not have the layout it must have.
    #[error(
        "pinned map {name} has {found}, this version needs {expected}; remove it with 'netpath teardown --force'"
    )]
    Layout {
        /// Map.
        name: String,
        /// As it is.
        found: String,
        /// As it must be.
        expected: String,
    },
    /// The object could not be loaded.
    #[error("cannot load the BPF object: {0}")]
    Load(#[from] EbpfError),
    /// A program was refused or could not be attached.
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
    /// The object lacks something this version needs.
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
        /// Which.
        call: &'static str,
        /// On what.
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
    /// A filter is still there after it was deleted.
    #[error("interface {0} keeps its filter although it was deleted")]
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
