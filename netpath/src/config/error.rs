//! Errors of settings.

use std::{fmt::Display, io, path::PathBuf};

/// Why settings cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file is not valid TOML, or has an unknown key or a value of a wrong type.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// Column number in characters, from 1.
        column: usize,
        /// Description of the error, one line.
        message: String,
    },
    /// A value is out of range or contradicts another one.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Description of the error.
        reason: String,
    },
    /// A value that this version does not support.
    #[error("{key}: not supported yet")]
    NotSupported {
        /// The key.
        key: &'static str,
    },
}

impl ConfigError {
    pub(super) fn invalid(key: &'static str, reason: impl Display) -> Self {
        Self::Invalid {
            key,
            reason: reason.to_string(),
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name another file with --config",
            Self::Syntax { .. } => "the sample netpath.toml shows every key",
            Self::Invalid { .. } => "see 'netpath daemon --help'",
            Self::NotSupported { .. } => "remove this setting",
        }
    }
}
