//! The client: typed requests over the unix socket, one connection each.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use super::v1;

/// Largest response in bytes.
const MAX_RESPONSE: usize = 256 * 1024 * 1024;

/// Default limit of the time until a response.
const TIMEOUT: Duration = Duration::from_secs(60);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process listens on the socket.
    #[error("daemon not reachable at {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why connecting failed.
        source: io::Error,
    },
    /// The daemon refuses the request.
    #[error("{}", error.message)]
    Refused {
        /// HTTP status.
        status: u16,
        /// The error as the daemon reports it.
        error: v1::ErrorDetail,
    },
    /// The response is invalid for this version, or incomplete.
    #[error("the daemon at {} sent an invalid response: {reason}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// Description.
        reason: String,
    },
    /// The daemon does not respond in time.
    #[error("the daemon at {} did not respond within {} s", path.display(), timeout.as_secs_f64())]
    Silent {
        /// The socket.
        path: PathBuf,
        /// The limit.
        timeout: Duration,
    },
}

impl ClientError {
    /// Advice for the user.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { source, .. }
                if source.kind() == io::ErrorKind::PermissionDenied =>
            {
                Some("run as root or as a member of the group 'netpath'".to_owned())
            }
            Self::Unreachable { .. } => Some("start it with 'netpath daemon'".to_owned()),
            Self::Refused { error, .. } => error.hint.clone(),
            Self::Broken { .. } => {
                Some("check that daemon and command have the same version".to_owned())
            }
            Self::Silent { .. } => Some("see the log of the daemon".to_owned()),
        }
    }

    /// Whether the daemon reports that the object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status: 404, .. })
    }

    /// Whether the request conflicts with the state.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { status: 409, .. })
    }
}

/// A client of one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    timeout: Duration,
}

type ClientResult<T> = Result<T, ClientError>;

impl Client {
    /// A client of the daemon at this socket. Each request opens a connection.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            timeout: TIMEOUT,
        }
    }

    /// The same client with another limit of the time until a response.
    #[must_use]
    pub fn with_timeout(&self, timeout: Duration) -> Self {
        Self {
            timeout,
            ..self.clone()
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Every network.
    pub async fn networks(&self) -> ClientResult<Vec<v1::Network>> {
        self.get("/v1/networks").await
    }

    /// One network.
    pub async fn network(&self, name: &str) -> ClientResult<v1::Network> {
        self.get(&format!("/v1/networks/{}", escape(name))).await
    }

    /// Creates a network.
    pub async fn create_network(&self, request: &v1::NetworkCreate) -> ClientResult<v1::Network> {
        self.send(Method::POST, "/v1/networks", request).await
    }

    /// Removes a network; with `force` also one of another owner.
    pub async fn remove_network(&self, name: &str, force: bool) -> ClientResult<()> {
        let target = format!("/v1/networks/{}", escape(name));
        self.delete(&with_force(target, force)).await
    }

    /// Connects a sandbox to a network; with `force` also one of another owner.
    pub async fn connect(
        &self,
        network: &str,
        request: &v1::Connect,
        force: bool,
    ) -> ClientResult<v1::Sandbox> {
        let target = format!("/v1/networks/{}/connect", escape(network));
        let target = with_force(target, force);
        self.send(Method::POST, &target, request).await
    }

    /// Disconnects a sandbox from a network; with `force` also one of another owner.
    pub async fn disconnect(
        &self,
        network: &str,
        request: &v1::Disconnect,
        force: bool,
    ) -> ClientResult<v1::Sandbox> {
        let target = format!("/v1/networks/{}/disconnect", escape(network));
        let target = with_force(target, force);
        self.send(Method::POST, &target, request).await
    }

    /// Every sandbox.
    pub async fn sandboxes(&self) -> ClientResult<Vec<v1::Sandbox>> {
        self.get("/v1/sandboxes").await
    }

    /// One sandbox.
    pub async fn sandbox(&self, name: &str) -> ClientResult<v1::Sandbox> {
        self.get(&format!("/v1/sandboxes/{}", escape(name))).await
    }

    /// Creates a sandbox.
    pub async fn create_sandbox(&self, request: &v1::SandboxCreate) -> ClientResult<v1::Sandbox> {
        self.send(Method::POST, "/v1/sandboxes", request).await
    }

    /// Removes a sandbox; with `force` also one of another owner.
    pub async fn remove_sandbox(&self, name: &str, force: bool) -> ClientResult<()> {
        let target = format!("/v1/sandboxes/{}", escape(name));
        self.delete(&with_force(target, force)).await
    }

    /// Published ports, of one sandbox or of all.
    pub async fn ports(&self, sandbox: Option<&str>) -> ClientResult<Vec<v1::Port>> {
        match sandbox {
            Some(name) => {
                self.get(&format!("/v1/ports?sandbox={}", escape(name)))
                    .await
            }
            None => self.get("/v1/ports").await,
        }
    }

    /// Publishes ports; with `force` also of a sandbox of another owner.
    pub async fn publish(&self, request: &v1::Publish, force: bool) -> ClientResult<Vec<v1::Port>> {
        let target = with_force("/v1/ports".to_owned(), force);
        self.send(Method::POST, &target, request).await
    }

    /// Withdraws ports; with `force` also of a sandbox of another owner.
    pub async fn unpublish(&self, request: &v1::Unpublish, force: bool) -> ClientResult<()> {
        let target = with_force("/v1/ports".to_owned(), force);
        self.send(Method::DELETE, &target, request).await
    }

    /// Every node of the cluster.
    pub async fn nodes(&self) -> ClientResult<Vec<v1::Node>> {
        self.get("/v1/nodes").await
    }

    /// One node of the cluster.
    pub async fn node(&self, name: &str) -> ClientResult<v1::Node> {
        self.get(&format!("/v1/nodes/{}", escape(name))).await
    }

    /// Removes a node from the cluster; with `force` also one whose daemon is running.
    pub async fn remove_node(&self, name: &str, force: bool) -> ClientResult<()> {
        let target = format!("/v1/nodes/{}", escape(name));
        self.delete(&with_force(target, force)).await
    }

    /// The deny list.
    pub async fn denials(&self) -> ClientResult<Vec<v1::Denial>> {
        self.get("/v1/deny").await
    }

    /// Adds prefixes to the deny list.
    pub async fn deny(&self, request: &v1::Deny) -> ClientResult<()> {
        self.send(Method::POST, "/v1/deny", request).await
    }

    /// Removes prefixes from the deny list.
    pub async fn remove_denials(&self, request: &v1::DenyRemove) -> ClientResult<()> {
        self.send(Method::DELETE, "/v1/deny", request).await
    }

    /// Node status.
    pub async fn status(&self) -> ClientResult<v1::Status> {
        self.get("/v1/status").await
    }

    /// Removes netpath's kernel state; the daemon ends.
    pub async fn teardown(&self) -> ClientResult<()> {
        self.exchange(Method::POST, "/v1/teardown", Bytes::new())
            .await
    }

    async fn get<T: DeserializeOwned>(&self, target: &str) -> ClientResult<T> {
        self.exchange(Method::GET, target, Bytes::new()).await
    }

    async fn delete(&self, target: &str) -> ClientResult<()> {
        self.exchange(Method::DELETE, target, Bytes::new()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        request: &impl Serialize,
    ) -> ClientResult<T> {
        let body = serde_json::to_vec(request).map_err(|error| self.broken(error))?;
        self.exchange(method, target, body.into()).await
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> ClientResult<T> {
        tokio::time::timeout(
            self.timeout,
            self.exchange_without_timeout(method, target, body),
        )
        .await
        .unwrap_or_else(|_| {
            Err(ClientError::Silent {
                path: self.socket.clone(),
                timeout: self.timeout,
            })
        })
    }

    async fn exchange_without_timeout<T: DeserializeOwned>(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
    ) -> ClientResult<T> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header(header::HOST, "netpath")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.broken(error))?;
        let stream =
            UnixStream::connect(&self.socket)
                .await
                .map_err(|source| ClientError::Unreachable {
                    path: self.socket.clone(),
                    source,
                })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.broken(error))?;
        let response = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| self.broken(error))?;
            self.read(response).await
        };
        tokio::pin!(response);
        tokio::select! {
            response = &mut response => response,
            // The connection may end before the response has been read.
            _ = connection => response.await,
        }
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> ClientResult<T> {
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_RESPONSE)
            .collect()
            .await
            .map_err(|error| self.broken(error))?
            .to_bytes();
        if status.is_success() {
            let body: &[u8] = match status {
                StatusCode::NO_CONTENT => b"null",
                _ => &body,
            };
            return serde_json::from_slice(body).map_err(|error| self.broken(error));
        }
        match serde_json::from_slice::<v1::ErrorBody>(&body) {
            Ok(body) => Err(ClientError::Refused {
                status: status.as_u16(),
                error: body.error,
            }),
            Err(_) => Err(self.broken(format!("status {status}"))),
        }
    }

    fn broken(&self, reason: impl ToString) -> ClientError {
        ClientError::Broken {
            path: self.socket.clone(),
            reason: reason.to_string(),
        }
    }
}

fn with_force(target: String, force: bool) -> String {
    if force {
        format!("{target}?force=true")
    } else {
        target
    }
}

/// A name as a segment or a value of a URL (RFC 3986 §2.3).
fn escape(name: &str) -> String {
    use std::fmt::Write;
    let mut escaped = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            escaped.push(char::from(byte));
        } else {
            // Writing to a string does not fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_in_their_segment() {
        assert_eq!(escape("web-1.a_b"), "web-1.a_b");
        assert_eq!(escape("a/../b?c d"), "a%2F..%2Fb%3Fc%20d");
    }
}
