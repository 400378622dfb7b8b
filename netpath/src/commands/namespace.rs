//! The network namespace of a new sandbox.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use super::{CommandError, Commands, ErrorKind, Node};
use crate::{
    kernel::{netns, process},
    model::{Name, NetworkMode, ProcessId, request::Source},
};

/// Source of the namespace of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NamespaceChoice {
    /// netpath creates one.
    Create,
    /// netpath adopts the namespace at a path.
    Path(PathBuf),
    /// netpath adopts the namespace of the process with this PID.
    Process(i32),
}

/// Why a namespace cannot be adopted.
#[derive(Debug, thiserror::Error)]
pub enum NamespaceError {
    /// The path does not exist.
    #[error("'{}' does not exist", .0.display())]
    Missing(PathBuf),
    /// The path cannot be resolved.
    #[error("cannot resolve '{}': {source}", path.display())]
    Unreadable {
        /// The path.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The path is not a network namespace.
    #[error("'{}' is not a network namespace", .0.display())]
    NotNamespace(PathBuf),
    /// The process does not exist.
    #[error("process {0} does not exist")]
    NoProcess(i32),
    /// The namespace of the node cannot be a sandbox.
    #[error("this is the network namespace of the node")]
    OwnNamespace,
}

impl NamespaceError {
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Missing(_) | Self::Unreadable { .. } | Self::NoProcess(_) => ErrorKind::NotFound,
            Self::NotNamespace(_) | Self::OwnNamespace => ErrorKind::Invalid,
        }
    }

    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotNamespace(_) => Some(
                "name the path of a namespace, for example /run/netns/NAME or /proc/PID/ns/net",
            ),
            Self::OwnNamespace => Some("use the network 'host'"),
            Self::Missing(_) | Self::Unreadable { .. } | Self::NoProcess(_) => None,
        }
    }
}

impl Node {
    /// Interface names in the namespace of a sandbox, including those of other programs; empty if the sandbox cannot
    /// have endpoints, or its namespace is missing.
    pub(super) async fn interfaces_of(&self, sandbox: &Name) -> Result<Vec<String>, CommandError> {
        match self.state().sandbox(sandbox) {
            Ok(sandbox) if sandbox.mode == NetworkMode::Network => {
                let namespace = sandbox.source.adopted();
                Ok(netns::interface_names(&sandbox.netns, namespace).await?)
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// Interface names in the namespace that a request adopts; empty if netpath creates the namespace.
pub(super) async fn interfaces_at(source: &Source) -> Result<Vec<String>, CommandError> {
    match source {
        Source::Created { .. } => Ok(Vec::new()),
        Source::Path { path, namespace }
        | Source::Process {
            path, namespace, ..
        } => Ok(netns::interface_names(path, Some(*namespace)).await?),
    }
}

impl Commands {
    /// The namespace with its id, which distinguishes it from a later namespace at the same path.
    pub(super) fn resolve_namespace(
        &self,
        choice: &NamespaceChoice,
    ) -> Result<Source, CommandError> {
        match choice {
            NamespaceChoice::Create => Ok(Source::Created {
                directory: self.config().run_dir.join("netns"),
            }),
            NamespaceChoice::Path(path) => {
                let path = resolve(path)?;
                let namespace =
                    netns::id(&path)?.ok_or_else(|| NamespaceError::NotNamespace(path.clone()))?;
                check_not_own(namespace.inode)?;
                Ok(Source::Path { path, namespace })
            }
            NamespaceChoice::Process(pid) => {
                let process = identify_process(*pid)?;
                let namespace =
                    process::netns_id(process)?.ok_or(NamespaceError::NoProcess(*pid))?;
                check_not_own(namespace.inode)?;
                Ok(Source::Process {
                    process,
                    path: process::netns_path(*pid),
                    namespace,
                })
            }
        }
    }
}

/// The process with its start time, which distinguishes it from a later process with the same PID.
pub(super) fn identify_process(pid: i32) -> Result<ProcessId, CommandError> {
    Ok(process::identify(pid)?.ok_or(NamespaceError::NoProcess(pid))?)
}

fn check_not_own(inode: u64) -> Result<(), CommandError> {
    if netns::current_inode()? == inode {
        return Err(NamespaceError::OwnNamespace.into());
    }
    Ok(())
}

/// The path without symbolic links. A link of procfs as the last component is kept, because its target has no path.
fn resolve(path: &Path) -> Result<PathBuf, NamespaceError> {
    let resolved = match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(_), Some(parent), Some(name)) if path.exists() => {
            fs::canonicalize(parent).map(|parent| parent.join(name))
        }
        (result, ..) => result,
    };
    resolved.map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => NamespaceError::Missing(path.to_owned()),
        _ => NamespaceError::Unreadable {
            path: path.to_owned(),
            source,
        },
    })
}
