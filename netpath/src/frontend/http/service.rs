//! The requests of the API, one method each, in wire types.

use std::future::Future;

use tokio::sync::broadcast;

use super::v1;
use crate::{commands, model::Caller};

/// Handles the requests of the API.
///
/// A method that changes something returns when the change is stored and applied, or reversed.
pub trait Service: Send + Sync + 'static {
    /// Every network, by name.
    fn networks(&self) -> impl Future<Output = Result<Vec<v1::Network>, ApiError>> + Send;

    /// One network.
    fn network(&self, name: &str) -> impl Future<Output = Result<v1::Network, ApiError>> + Send;

    /// Creates a network.
    fn create_network(
        &self,
        request: v1::NetworkCreate,
        caller: Caller,
    ) -> impl Future<Output = Result<v1::Network, ApiError>> + Send;

    /// Removes a network that has no endpoint.
    fn remove_network(
        &self,
        name: &str,
        caller: Caller,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Connects a sandbox to a network; returns the changed sandbox.
    fn connect(
        &self,
        network: &str,
        request: v1::Connect,
        caller: Caller,
    ) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Disconnects a sandbox from a network; returns the changed sandbox.
    fn disconnect(
        &self,
        network: &str,
        request: v1::Disconnect,
        caller: Caller,
    ) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Every sandbox, by name.
    fn sandboxes(&self) -> impl Future<Output = Result<Vec<v1::Sandbox>, ApiError>> + Send;

    /// One sandbox.
    fn sandbox(&self, name: &str) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Creates a sandbox, or adopts a namespace.
    fn create_sandbox(
        &self,
        request: v1::SandboxCreate,
        caller: Caller,
    ) -> impl Future<Output = Result<v1::Sandbox, ApiError>> + Send;

    /// Removes a sandbox with its endpoints and ports.
    fn remove_sandbox(
        &self,
        name: &str,
        caller: Caller,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Every endpoint: those of sandboxes first.
    fn endpoints(&self) -> impl Future<Output = Result<Vec<v1::Endpoint>, ApiError>> + Send;

    /// One endpoint.
    fn endpoint(&self, id: &str) -> impl Future<Output = Result<v1::Endpoint, ApiError>> + Send;

    /// Creates an endpoint without a sandbox.
    fn create_endpoint(
        &self,
        request: v1::EndpointCreate,
        caller: Caller,
    ) -> impl Future<Output = Result<v1::Endpoint, ApiError>> + Send;

    /// Removes an endpoint.
    fn remove_endpoint(
        &self,
        id: &str,
        caller: Caller,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Joins an endpoint to a sandbox.
    fn join_endpoint(
        &self,
        id: &str,
        request: v1::Join,
        caller: Caller,
    ) -> impl Future<Output = Result<v1::Endpoint, ApiError>> + Send;

    /// Disconnects an endpoint from its sandbox.
    fn leave_endpoint(
        &self,
        id: &str,
        caller: Caller,
    ) -> impl Future<Output = Result<v1::Endpoint, ApiError>> + Send;

    /// Published ports, of one sandbox or of all.
    fn ports(
        &self,
        sandbox: Option<&str>,
    ) -> impl Future<Output = Result<Vec<v1::Port>, ApiError>> + Send;

    /// Publishes ports, all or none; returns those of the request.
    fn publish(
        &self,
        request: v1::Publish,
        caller: Caller,
    ) -> impl Future<Output = Result<Vec<v1::Port>, ApiError>> + Send;

    /// Withdraws ports, all or none.
    fn unpublish(
        &self,
        request: v1::Unpublish,
        caller: Caller,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// The deny list, in the order of the prefixes.
    fn denials(&self) -> impl Future<Output = Result<Vec<v1::Denial>, ApiError>> + Send;

    /// Adds prefixes to the deny list, all or none.
    fn deny(&self, request: v1::Deny) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Removes prefixes from the deny list, all or none.
    fn remove_denials(
        &self,
        request: v1::DenyRemove,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Every node of the cluster, by name.
    fn nodes(&self) -> impl Future<Output = Result<Vec<v1::Node>, ApiError>> + Send;

    /// One node of the cluster.
    fn node(&self, name: &str) -> impl Future<Output = Result<v1::Node, ApiError>> + Send;

    /// Removes a node that no longer exists from the cluster.
    fn remove_node(
        &self,
        name: &str,
        caller: Caller,
    ) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Every pinned map.
    fn maps(&self) -> impl Future<Output = Result<Vec<v1::MapInfo>, ApiError>> + Send;

    /// The rows of one table.
    fn map(
        &self,
        table: v1::MapTable,
    ) -> impl Future<Output = Result<v1::MapDump, ApiError>> + Send;

    /// Node status.
    fn status(&self) -> impl Future<Output = Result<v1::Status, ApiError>> + Send;

    /// Removes netpath's kernel state and run directory; the daemon ends after the response.
    fn teardown(&self) -> impl Future<Output = Result<(), ApiError>> + Send;

    /// Subscribes to later events. A slow receiver loses the oldest events.
    fn events(&self) -> broadcast::Receiver<commands::Event>;
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Kind of the failure.
    pub kind: ErrorKind,
    /// Object and cause.
    pub message: String,
    /// Advice for the user.
    pub hint: Option<String>,
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request is invalid: 400.
    Invalid,
    /// An object it names does not exist: 404.
    NotFound,
    /// It conflicts with an existing object: 409.
    Conflict,
    /// A later attempt may succeed: 503.
    Unavailable,
    /// netpath or the kernel failed: 500.
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
    /// An invalid request.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// An object that does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, message)
    }

    /// A conflict with an existing object.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, message)
    }

    /// A failure after which a later attempt may succeed.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable, message)
    }

    /// A failure of netpath or the kernel.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// The same error with a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An object that does not exist, with the most similar existing name as the hint.
    pub fn unknown<'a>(
        kind: &str,
        name: &str,
        existing: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let error = Self::not_found(format!("no {kind} '{name}'"));
        let nearest = existing
            .into_iter()
            .map(|candidate| (strsim::osa_distance(name, candidate), candidate))
            .min();
        match nearest {
            Some((distance, candidate)) if distance <= 1 + name.chars().count() / 3 => {
                error.hint(format!("did you mean '{candidate}'?"))
            }
            _ => error.hint(format!("list existing objects with 'netpath {kind} ls'")),
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
    fn unknown_name_suggests_the_most_similar_one() {
        let hint = |name: &str| ApiError::unknown("network", name, ["bridge", "backend"]).hint;
        assert_eq!(hint("brigde").as_deref(), Some("did you mean 'bridge'?"));
        assert_eq!(
            hint("frontends").as_deref(),
            Some("list existing objects with 'netpath network ls'")
        );
    }
}
