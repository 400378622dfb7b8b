//! What the daemon answers: one method for each request, in wire types.

use std::future::Future;

use tokio::sync::broadcast;

use super::v1;
use crate::commands;

/// Answers the requests of the API.
///
/// Implementations write `async fn`s. A method that changes something returns once the change is stored and in force,
/// or has been undone.
pub trait Service: Send + Sync + 'static {
    /// Every network, by name.
    fn networks(&self) -> impl Future<Output = Result<Vec<v1::Network>, ApiError>> + Send;

    /// One network.
    fn network(&self, name: &str) -> impl Future<Output = Result<v1::Network, ApiError>> + Send;

    /// Makes a network.
    fn create_network(
        &self,
        request: v1::NetworkCreate,
    ) -> impl Future<Output = Result<v1::Network, ApiError>> + Send;

    /// Removes a network that no sandbox is in.
    fn remove_network(&self, name: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Joins a sandbox to a network; returns the sandbox as it is then.
    fn connect(
        &self,
        network: &str,
        request: v1::Connect,
    ) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Takes a sandbox out of a network; returns the sandbox as it is then.
    fn disconnect(
        &self,
        network: &str,
        request: v1::Disconnect,
    ) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Every sandbox, by name.
    fn sandboxes(&self) -> impl Future<Output = Result<Vec<v1::Sandbox>, ApiError>> + Send;

    /// One sandbox.
    fn sandbox(&self, name: &str) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Makes a sandbox, or adopts a namespace.
    fn create_sandbox(
        &self,
        request: v1::SandboxCreate,
    ) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Removes a sandbox with its endpoints and ports.
    fn remove_sandbox(&self, name: &str) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Published ports, of one sandbox or of all.
    fn ports(
        &self,
        sandbox: Option<&str>,
    ) -> impl Future<Output = Result<Vec<v1::Port>, ApiError>> + Send;

    /// Publishes ports, all or none; returns those of the request.
    fn publish(
        &self,
        request: v1::Publish,
    ) -> impl Future<Output = Result<Vec<v1::Port>, ApiError>> + Send;

    /// Withdraws ports, all or none.
    fn unpublish(
        &self,
        request: v1::Unpublish,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Every pinned map.
    fn maps(&self) -> impl Future<Output = Result<Vec<v1::MapInfo>, ApiError>> + Send;

    /// The rows of one table.
    fn map(
        &self,
        table: v1::MapTable,
    ) -> impl Future<Output = Result<v1::MapDump, ApiError>> + Send;

    /// How the node does.
    fn status(&self) -> impl Future<Output = Result<v1::Status, ApiError>> + Send;

    /// Removes everything netpath has put into the kernel and its run directory; the daemon ends after the answer.
    fn teardown(&self) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// What happens from now on. A reader that is too slow loses the oldest events.
    fn events(&self) -> broadcast::Receiver<commands::Event>;
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Which sort of failure.
    pub kind: ErrorKind,
    /// Which object, and why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Sorts of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request makes no sense: 400.
    Invalid,
    /// An object it names does not exist: 404.
    NotFound,
    /// It contradicts what exists: 409.
    Conflict,
    /// It cannot be done now: 503.
    Unavailable,
    /// A failure of the daemon or the kernel: 500.
    Internal,
}

impl ErrorKind {
    /// The `code` on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status.
    pub const fn status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }
}

impl ApiError {
    /// A request that makes no sense.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An object that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A contradiction to what exists.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// Something that cannot be done now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A failure of the daemon or the kernel.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same with advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An object of this kind and name that does not exist, with the nearest of the names that do as advice.
    pub fn unknown<'a>(
        kind: &str,
        name: &str,
        existing: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let error = Self::not_found(format!("there is no {kind} '{name}'"));
        let nearest = existing
            .into_iter()
            .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
            .min();
        match nearest {
            Some((distance, candidate)) if distance <= 1 + name.chars().count() / 3 => {
                error.hint(format!("did you mean '{candidate}'?"))
            }
            _ => error.hint(format!("list what there is with 'netpath {kind} ls'")),
        }
    }

    fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_get_the_nearest_one() {
        let hint = |name: &str| ApiError::unknown("network", name, ["bridge", "backend"]).hint;
        assert_eq!(hint("brigde").as_deref(), Some("did you mean 'bridge'?"));
        assert_eq!(
            hint("frontends").as_deref(),
            Some("list what there is with 'netpath network ls'")
        );
    }
}
