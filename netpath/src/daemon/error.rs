//! Errors of the daemon.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::lock::Resource;
use crate::{
    commands::CommandError, datapath::DatapathError, frontend::http::socket::BindError, kernel,
    store::StoreError,
};

/// Why the daemon cannot start, or has stopped with an error.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another daemon uses a resource of the node.
    #[error("another daemon uses {}", in_use(*resource, path))]
    Running {
        /// The resource.
        resource: Resource,
        /// Its file or directory.
        path: PathBuf,
    },
    /// A file or directory cannot be used.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// Operation, as a verb.
        action: &'static str,
        /// File or directory.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The kernel is too old.
    #[error("Linux {found} is too old; netpath needs {}.{} or later", needed.0, needed.1)]
    OldKernel {
        /// Release of the running kernel.
        found: String,
        /// Major and minor version of the oldest supported kernel.
        needed: (u32, u32),
    },
    /// Capabilities are missing.
    #[error("missing {0}; run the daemon as root, or give its unit these capabilities")]
    Capability(String),
    /// No cgroup v2 is mounted.
    #[error(
        "no cgroup v2 is mounted; mount one with 'mount -t cgroup2 none /sys/fs/cgroup', or name a directory with --cgroup"
    )]
    NoCgroup,
    /// The configured cgroup is not a cgroup.
    #[error("{} is not a directory of a cgroup v2 file system; name one with --cgroup", .0.display())]
    NotCgroup(PathBuf),
    /// The socket of the HTTP API cannot be created.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The store has no objects, but the kernel has those of an earlier daemon.
    #[error(
        "store {} is missing or empty, but {} contains pins; restore the store to keep sandboxes and ports, or \
         remove them with 'netpath teardown --force --run-dir {} --state-dir {} --bpf-dir {}' and start again",
        store.display(), bpf_dir.display(), run_dir.display(), state_dir.display(), bpf_dir.display()
    )]
    LostStore {
        /// File of the store.
        store: PathBuf,
        /// Directory for pins.
        bpf_dir: PathBuf,
        /// Run directory.
        run_dir: PathBuf,
        /// State directory.
        state_dir: PathBuf,
    },
    /// Signals cannot be received, or a task has failed.
    #[error("cannot {action}: {source}")]
    Runtime {
        /// Operation, as a verb.
        action: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// A command failed at startup.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The kernel refused an operation.
    #[error(transparent)]
    Kernel(#[from] kernel::Error),
    /// A program or a map failed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}

/// The resource, and what the user can do.
fn in_use(resource: Resource, path: &Path) -> String {
    let (name, flag) = match resource {
        Resource::RunDirectory => ("run directory", "--run-dir"),
        Resource::StateDirectory => ("state directory", "--state-dir"),
        Resource::PinDirectory => ("pin directory", "--bpf-dir"),
        Resource::Namespace => {
            return "this network namespace; stop it, or start this one in another namespace"
                .to_owned();
        }
    };
    format!(
        "{name} {}; stop it, or choose another {flag}",
        path.display()
    )
}
