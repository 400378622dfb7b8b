//! Errors of requests to the kernel.

use std::io;

/// A failed request to the kernel: which one, on which object, and why.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a netlink request.
    #[error("netlink request {request} for {object}: {source}")]
    Netlink {
        /// Name of the request in the kernel, such as `RTM_NEWLINK`.
        request: &'static str,
        /// Object of the request.
        object: String,
        /// Its errno.
        source: io::Error,
    },
    /// The netlink socket was closed, or a reply is invalid.
    #[error("netlink request {request} for {object}: no usable reply")]
    NoReply {
        /// Name of the request in the kernel.
        request: &'static str,
        /// Object of the request.
        object: String,
    },
    /// The kernel's table kept changing while it was being read.
    #[error("netlink request {request} for {object}: the table kept changing while it was read")]
    Unstable {
        /// Name of the request in the kernel.
        request: &'static str,
        /// Object of the request.
        object: String,
    },
    /// A system call failed.
    #[error("{call} for {object}: {source}")]
    Syscall {
        /// Name of the system call.
        call: &'static str,
        /// Object of the call: a path, a process.
        object: String,
        /// Its errno.
        source: io::Error,
    },
    /// A device does not exist.
    #[error("no device named {name}")]
    NoLink {
        /// The name.
        name: String,
    },
    /// A device of another kind has a name that netpath uses for its own devices.
    #[error("{name} is a device of kind {found}, expected {expected}: it is not netpath's")]
    ForeignLink {
        /// The name.
        name: String,
        /// The kind that was found.
        found: String,
        /// The expected kind.
        expected: &'static str,
    },
    /// The interface name is in use inside a sandbox.
    #[error("the name {name} is already used in the namespace {netns}")]
    NameTaken {
        /// The name.
        name: String,
        /// Path of the namespace.
        netns: String,
    },
    /// The bridge has the maximal number of ports.
    #[error("the bridge {bridge} has as many ports as Linux allows (1023); use another network")]
    BridgeFull {
        /// Its name.
        bridge: String,
    },
    /// The other end of a veth pair is not in the expected namespace.
    #[error("the other end of {name} is not in the namespace {netns}")]
    PeerElsewhere {
        /// Name of the host interface.
        name: String,
        /// Path of the namespace.
        netns: String,
    },
    /// The path is not a network namespace.
    #[error("{path} is not a network namespace")]
    NotNetns {
        /// The path.
        path: String,
    },
    /// The namespace at the path is not the adopted one.
    #[error("{path} is another network namespace, not the adopted one")]
    Replaced {
        /// The path.
        path: String,
    },
    /// A file of the kernel has an unknown format.
    #[error("{path}: expected {expected}, found '{found}'")]
    Format {
        /// The file.
        path: String,
        /// The expected content.
        expected: &'static str,
        /// The content.
        found: String,
    },
}

impl Error {
    /// Whether a later attempt may succeed without a change by the user.
    pub fn can_retry(&self) -> bool {
        match self {
            Self::Netlink { source, .. } | Self::Syscall { source, .. } => matches!(
                source.raw_os_error(),
                Some(
                    libc::EAGAIN
                        | libc::EBUSY
                        | libc::EINTR
                        | libc::ENOBUFS
                        | libc::ENOMEM
                        | libc::EMFILE
                        | libc::ENFILE
                        | libc::ENODEV
                )
            ),
            Self::Unstable { .. } | Self::NoLink { .. } => true,
            Self::NoReply { .. }
            | Self::ForeignLink { .. }
            | Self::NameTaken { .. }
            | Self::BridgeFull { .. }
            | Self::PeerElsewhere { .. }
            | Self::NotNetns { .. }
            | Self::Replaced { .. }
            | Self::Format { .. } => false,
        }
    }

    /// The errno, if the kernel returned one.
    pub fn errno(&self) -> Option<i32> {
        match self {
            Self::Netlink { source, .. } | Self::Syscall { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    pub(super) fn syscall(
        call: &'static str,
        object: impl ToString,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::Syscall {
            call,
            object: object.to_string(),
            source: source.into(),
        }
    }
}
