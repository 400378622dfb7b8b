//! Errors.

use std::{fmt::Display, io, path::PathBuf};

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("could not read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The file does not say what it should.
    #[error("{}:{line}:{column}: {message}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// A value is invalid.
    #[error("{key}: {reason}")]
    Invalid {
        /// The key.
        key: &'static str,
        /// Cause.
        reason: String,
    },
    /// A value that a later version will support.
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

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Read { .. } => "name another file with --config",
            Self::Syntax { .. } => "the sample netpath.toml shows every key",
            Self::Invalid { .. } => "see 'netpath daemon --help'",
            Self::NotSupported { .. } => "leave it out",
        }
    }
}
