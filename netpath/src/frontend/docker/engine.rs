//! A client of the engine's HTTP API on its unix socket; each request has a connection of its own.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, Response, StatusCode, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::{net::UnixStream, time};

use super::api;

/// Versions of the API that netpath uses, the oldest (Docker 20.10) and the newest.
const VERSIONS: (ApiVersion, ApiVersion) = ((1, 41), (1, 51));

/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Time limit of a request about a container that is being started: the engine replies when it runs.
const START_TIMEOUT: Duration = Duration::from_secs(120);

/// Largest reply in bytes.
const MAX_REPLY: usize = 64 << 20;

/// Largest event in bytes.
const MAX_EVENT: usize = 1 << 20;

type ApiVersion = (u32, u32);

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No process listens on the socket, or it is not permitted.
    #[error("cannot connect to {}: {source}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The engine refuses the request.
    #[error("the engine refuses {target}: {status} {message}")]
    Refused {
        /// The request.
        target: String,
        /// HTTP status.
        status: StatusCode,
        /// The engine's message.
        message: String,
    },
    /// The reply is incomplete or not what the API describes.
    #[error("the engine's reply to {target} is invalid: {reason}")]
    Broken {
        /// The request.
        target: String,
        /// Description.
        reason: String,
    },
    /// The engine does not reply in time.
    #[error("the engine has not replied to {target} within {} s", limit.as_secs())]
    Silent {
        /// The request.
        target: String,
        /// The limit.
        limit: Duration,
    },
    /// The engine has no version of the API in common with netpath.
    #[error("the engine has the API {found}, netpath uses 1.41 (Docker 20.10) to 1.51")]
    Version {
        /// The engine's versions.
        found: String,
    },
    /// The engine has closed the stream of events.
    #[error("the engine has closed the stream of events")]
    Ended,
}

/// An engine with a version of the API that both sides know.
#[derive(Clone, Debug)]
pub struct Engine {
    socket: PathBuf,
    version: String,
}

impl Engine {
    /// Selects the newest version of the API that both sides know.
    ///
    /// # Errors
    /// If the engine cannot be reached, or is too old or too new.
    pub async fn connect(socket: &Path) -> Result<Self, EngineError> {
        let mut engine = Self {
            socket: socket.to_owned(),
            version: String::new(),
        };
        let found: api::Version = engine.get("/version", TIMEOUT).await?;
        let (major, minor) = select(&found).ok_or_else(|| EngineError::Version {
            found: format!("{} to {}", found.oldest, found.newest),
        })?;
        engine.version = format!("/v{major}.{minor}");
        Ok(engine)
    }

    /// Every container, running or not.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn containers(&self) -> Result<Vec<api::Summary>, EngineError> {
        self.get("/containers/json?all=1", TIMEOUT).await
    }

    /// One container; `None` if it does not exist. Waits while the container is being started.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn container(&self, id: &str) -> Result<Option<api::Container>, EngineError> {
        let target = format!("/containers/{id}/json");
        missing_is_none(self.get(&target, START_TIMEOUT).await)
    }

    /// Every network, without its containers.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn networks(&self) -> Result<Vec<api::Network>, EngineError> {
        self.get("/networks", TIMEOUT).await
    }

    /// One network with its containers; `None` if it does not exist.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn network(&self, id: &str) -> Result<Option<api::Network>, EngineError> {
        missing_is_none(self.get(&format!("/networks/{id}"), TIMEOUT).await)
    }

    /// Events of containers and networks after this call.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn events(&self) -> Result<Events, EngineError> {
        // {"type":["container","network"]}
        let target = "/events?filters=%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%7D";
        let response = limited(target, TIMEOUT, self.request(target)).await?;
        Ok(Events {
            body: response.into_body(),
            buffer: BytesMut::new(),
        })
    }

    async fn get<T: DeserializeOwned>(
        &self,
        target: &str,
        limit: Duration,
    ) -> Result<T, EngineError> {
        let reply = async {
            let response = self.request(target).await?;
            let status = response.status();
            let body = collect(target, response).await?;
            if status.is_success() {
                return serde_json::from_slice(&body).map_err(|error| broken(target, error));
            }
            let message = match serde_json::from_slice::<api::Failure>(&body) {
                Ok(failure) => failure.message,
                Err(_) => String::from_utf8_lossy(&body).chars().take(200).collect(),
            };
            Err(EngineError::Refused {
                target: target.to_owned(),
                status,
                message,
            })
        };
        limited(target, limit, reply).await
    }

    async fn request(&self, target: &str) -> Result<Response<Incoming>, EngineError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| EngineError::Unreachable {
            path: self.socket.clone(),
            source,
        })?;
        let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|error| broken(target, error))?;
        // It ends with the response; its error is also that of the request.
        tokio::spawn(connection);
        let request = Request::get(format!("{}{target}", self.version))
            .header(header::HOST, "docker")
            .body(Empty::<Bytes>::new())
            .map_err(|error| broken(target, error))?;
        let response = sender.send_request(request).await;
        response.map_err(|error| broken(target, error))
    }
}

/// The stream of events.
#[derive(Debug)]
pub struct Events {
    body: Incoming,
    buffer: BytesMut,
}

impl Events {
    /// The next event. Cancel-safe.
    ///
    /// # Errors
    /// If the stream has ended or contains something else.
    pub async fn next(&mut self) -> Result<api::Event, EngineError> {
        const TARGET: &str = "/events";
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    continue;
                }
                return serde_json::from_slice(&line).map_err(|error| broken(TARGET, error));
            }
            if self.buffer.len() > MAX_EVENT {
                return Err(broken(TARGET, "an event is longer than 1 MiB"));
            }
            let frame = self.body.frame().await.ok_or(EngineError::Ended)?;
            let frame = frame.map_err(|error| broken(TARGET, error))?;
            if let Ok(data) = frame.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

async fn collect(target: &str, response: Response<Incoming>) -> Result<Bytes, EngineError> {
    let body = Limited::new(response.into_body(), MAX_REPLY);
    let collected = body.collect().await;
    Ok(collected.map_err(|error| broken(target, error))?.to_bytes())
}

async fn limited<T>(
    target: &str,
    limit: Duration,
    reply: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    let in_time = time::timeout(limit, reply).await;
    in_time.unwrap_or_else(|_| {
        Err(EngineError::Silent {
            target: target.to_owned(),
            limit,
        })
    })
}

fn broken(target: &str, reason: impl ToString) -> EngineError {
    EngineError::Broken {
        target: target.to_owned(),
        reason: reason.to_string(),
    }
}

fn missing_is_none<T>(result: Result<T, EngineError>) -> Result<Option<T>, EngineError> {
    match result {
        Err(EngineError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => Ok(None),
        other => other.map(Some),
    }
}

/// The newest version of the API that both sides know.
fn select(found: &api::Version) -> Option<ApiVersion> {
    let (oldest, newest) = VERSIONS;
    let selected = parse(&found.newest)?.min(newest);
    let required = parse(&found.oldest).unwrap_or(oldest);
    (selected >= oldest && selected >= required).then_some(selected)
}

fn parse(text: &str) -> Option<ApiVersion> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_common_version_is_selected() {
        for (oldest, newest, selected) in [
            ("1.12", "1.41", Some((1, 41))),
            ("1.24", "1.51", Some((1, 51))),
            ("1.44", "1.60", Some((1, 51))),
            ("", "1.45", Some((1, 45))),
            ("1.12", "1.40", None),
            ("1.52", "1.60", None),
            ("1.12", "nonsense", None),
        ] {
            let found = api::Version {
                newest: newest.to_owned(),
                oldest: oldest.to_owned(),
            };
            assert_eq!(select(&found), selected, "{oldest} {newest}");
        }
    }
}
