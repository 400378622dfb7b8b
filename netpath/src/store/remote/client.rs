//! An HTTP client for the servers of a distributed store.

use std::{
    error::Error as _,
    io,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue},
};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::{
    RemoteError, RemoteProblem, RemoteSettings, Server,
    socket::{self, Sender},
};
use crate::store::StoreError;

/// Limit of the time until one server responds.
const ATTEMPT: Duration = Duration::from_secs(3);
/// Limit of the time of a call, on all servers.
const CALL: Duration = Duration::from_secs(7);
/// Largest response in bytes.
const MAX_RESPONSE: usize = 256 << 20;
/// Number of connections that are kept for later calls.
const KEPT: usize = 4;

/// A request.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// The call for errors, as a verb with its object.
    pub call: &'static str,
    /// HTTP method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers in addition to the usual ones.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// Body.
    pub body: Bytes,
    /// Whether the request changes nothing, or may be executed twice.
    pub repeatable: bool,
    /// Time that the server may wait before it responds.
    pub wait: Duration,
}

/// A response.
#[derive(Debug)]
pub struct Reply<B = Bytes> {
    /// The server that has responded.
    pub server: String,
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: B,
}

impl Reply {
    /// Status and first line of the body, for errors.
    pub fn line(&self) -> String {
        let body = String::from_utf8_lossy(&self.body);
        let line = body.lines().next().unwrap_or_default();
        let line: String = line.chars().take(200).collect();
        format!("{} {line}", self.status)
    }
}

/// Why a server has not responded.
struct Failure {
    problem: RemoteProblem,
    /// Whether the server may have received the request.
    sent: bool,
}

/// A client. It uses one server until a call fails, then the next one.
pub struct Client {
    servers: Vec<Server>,
    /// Index of the server that is used.
    current: AtomicUsize,
    tls: Option<TlsConnector>,
    /// Open connections with the index of their server.
    idle: Mutex<Vec<(usize, Sender)>>,
    /// Why the last call failed.
    problem: Mutex<Option<RemoteError>>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

impl Exchange {
    /// A request that may be executed twice.
    pub fn new(call: &'static str, method: Method, path: impl Into<String>) -> Self {
        Self {
            call,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Bytes::new(),
            repeatable: true,
            wait: Duration::ZERO,
        }
    }

    /// The same request with a body.
    #[must_use]
    pub fn with_body(self, body: impl Into<Bytes>) -> Self {
        Self {
            body: body.into(),
            ..self
        }
    }

    /// The same request; it must not be executed twice.
    #[must_use]
    pub fn once(self) -> Self {
        Self {
            repeatable: false,
            ..self
        }
    }

    fn request(&self, server: &Server) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::builder()
            .method(self.method.clone())
            .uri(&self.path)
            .header(HOST, server.to_string())
            .header(CONTENT_TYPE, "application/json");
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        request
            .body(Full::new(self.body.clone()))
            .map_err(|error| Failure {
                problem: RemoteProblem::Invalid(error.to_string()),
                sent: false,
            })
    }
}

impl Client {
    /// A client of the servers; opens no connection.
    pub fn new(settings: &RemoteSettings) -> Result<Self, StoreError> {
        Ok(Self {
            servers: settings.servers.clone(),
            current: AtomicUsize::new(0),
            tls: socket::tls(settings)?,
            idle: Mutex::default(),
            problem: Mutex::default(),
        })
    }

    /// The token in the file that the settings name.
    pub fn token(settings: &RemoteSettings) -> Result<Option<String>, StoreError> {
        settings.token.as_deref().map(socket::token).transpose()
    }

    /// The server that the next call uses.
    pub fn server(&self) -> String {
        self.name(self.current.load(Ordering::Relaxed))
    }

    /// Why the last call failed; `None` if it succeeded or there was none.
    pub fn problem(&self) -> Option<RemoteError> {
        lock(&self.problem).clone()
    }

    /// Records the result of a call as a whole, for [`Self::problem`].
    pub fn note<T>(&self, result: Result<T, RemoteError>) -> Result<T, RemoteError> {
        *lock(&self.problem) = result.as_ref().err().cloned();
        result
    }

    /// Sends a request and reads the response. Tries every server until one responds with a status below 500, unless
    /// the request must not be repeated and a server may have executed it.
    pub async fn call(&self, exchange: &Exchange) -> Result<Reply, RemoteError> {
        let mut turns = Turns::new(self, exchange, Instant::now() + CALL + exchange.wait);
        while let Some(index) = turns.next() {
            let limit = (Instant::now() + ATTEMPT + exchange.wait).min(turns.deadline);
            let outcome = self.exchange(index, exchange, limit).await;
            turns.note(index, outcome);
        }
        turns.end()
    }

    /// Sends a request and returns the response with its body unread.
    pub async fn stream(&self, exchange: &Exchange) -> Result<Reply<Incoming>, RemoteError> {
        let mut turns = Turns::new(self, exchange, Instant::now() + CALL);
        while let Some(index) = turns.next() {
            let limit = (Instant::now() + ATTEMPT).min(turns.deadline);
            let opened = self.send(index, exchange, limit, false).await;
            turns.note(
                index,
                opened.map(|(_, response)| self.reply(index, response)),
            );
        }
        turns.end()
    }

    fn error(
        &self,
        exchange: &Exchange,
        index: usize,
        problem: RemoteProblem,
        uncertain: bool,
    ) -> RemoteError {
        RemoteError {
            call: exchange.call,
            server: self.name(index),
            problem,
            uncertain,
        }
    }

    fn name(&self, index: usize) -> String {
        let server = self.servers.get(index);
        server.map(ToString::to_string).unwrap_or_default()
    }

    fn reply<B>(&self, index: usize, response: Response<B>) -> Reply<B> {
        let (parts, body) = response.into_parts();
        Reply {
            server: self.name(index),
            status: parts.status,
            headers: parts.headers,
            body,
        }
    }

    /// One request to one server. The connection is kept.
    async fn exchange(
        &self,
        index: usize,
        exchange: &Exchange,
        limit: Instant,
    ) -> Result<Reply, Failure> {
        let (sender, response) = self.send(index, exchange, limit, true).await?;
        let (parts, body) = response.into_parts();
        let read = timeout_at(limit, Limited::new(body, MAX_RESPONSE).collect()).await;
        let body = match read {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) => {
                return Err(Failure {
                    problem: RemoteProblem::Unreachable(error.to_string()),
                    sent: true,
                });
            }
            Err(_) => return Err(timed_out(exchange, true)),
        };
        let mut idle = lock(&self.idle);
        if idle.len() < KEPT {
            idle.push((index, sender));
        }
        drop(idle);
        Ok(self.reply(index, Response::from_parts(parts, body)))
    }

    /// Sends a request, on a kept connection if there is one. A kept connection that the server has closed before it
    /// has received the request is replaced.
    async fn send(
        &self,
        index: usize,
        exchange: &Exchange,
        limit: Instant,
        keep: bool,
    ) -> Result<(Sender, Response<Incoming>), Failure> {
        while let Some(sender) = self.kept(index).filter(|_| keep) {
            match self.send_on(sender, index, exchange, limit).await {
                Err(failure) if !failure.sent => {}
                Err(failure)
                    if exchange.repeatable
                        && matches!(failure.problem, RemoteProblem::Unreachable(_)) => {}
                result => return result,
            }
        }
        let Some(server) = self.servers.get(index) else {
            return Err(timed_out(exchange, false));
        };
        let opened = timeout_at(limit, socket::connect(server, self.tls.as_ref())).await;
        let sender = opened
            .map_err(|_| timed_out(exchange, false))?
            .map_err(|problem| Failure {
                problem,
                sent: false,
            })?;
        self.send_on(sender, index, exchange, limit).await
    }

    async fn send_on(
        &self,
        mut sender: Sender,
        index: usize,
        exchange: &Exchange,
        limit: Instant,
    ) -> Result<(Sender, Response<Incoming>), Failure> {
        let Some(server) = self.servers.get(index) else {
            return Err(timed_out(exchange, false));
        };
        let request = exchange.request(server)?;
        match timeout_at(limit, sender.send_request(request)).await {
            Ok(Ok(response)) => Ok((sender, response)),
            Ok(Err(error)) => Err(Failure {
                sent: !error.is_canceled(),
                problem: problem(&error),
            }),
            Err(_) => Err(timed_out(exchange, true)),
        }
    }

    /// A kept connection to the server.
    fn kept(&self, index: usize) -> Option<Sender> {
        let mut idle = lock(&self.idle);
        idle.retain(|(_, sender)| !sender.is_closed());
        let position = idle.iter().position(|(server, _)| *server == index)?;
        Some(idle.swap_remove(position).1)
    }
}

/// One call: the servers that are tried, and the last outcome.
struct Turns<'a, B> {
    client: &'a Client,
    exchange: &'a Exchange,
    deadline: Instant,
    /// Index of the first server.
    first: usize,
    /// Number of servers that were tried.
    turn: usize,
    /// Whether no other server is tried.
    ended: bool,
    last: Option<Result<Reply<B>, RemoteError>>,
}

impl<'a, B> Turns<'a, B> {
    fn new(client: &'a Client, exchange: &'a Exchange, deadline: Instant) -> Self {
        Self {
            client,
            exchange,
            deadline,
            first: client.current.load(Ordering::Relaxed),
            turn: 0,
            ended: false,
            last: None,
        }
    }

    /// The next server to try.
    fn next(&mut self) -> Option<usize> {
        let count = self.client.servers.len();
        if self.ended || self.turn >= count || (self.turn > 0 && Instant::now() >= self.deadline) {
            return None;
        }
        self.turn += 1;
        Some((self.first + self.turn - 1) % count)
    }

    fn note(&mut self, index: usize, outcome: Result<Reply<B>, Failure>) {
        let current = &self.client.current;
        let sent = match outcome {
            Ok(reply) => {
                self.ended = !reply.status.is_server_error();
                // The caller interprets an error status if no other server responds.
                self.last = Some(Ok(reply));
                true
            }
            Err(Failure { problem, sent }) => {
                let uncertain = sent && !self.exchange.repeatable;
                if uncertain || !matches!(self.last, Some(Ok(_))) {
                    let error = self.client.error(self.exchange, index, problem, uncertain);
                    self.last = Some(Err(error));
                }
                sent
            }
        };
        if self.ended {
            current.store(index, Ordering::Relaxed);
        } else {
            current.store((index + 1) % self.client.servers.len(), Ordering::Relaxed);
            self.ended = sent && !self.exchange.repeatable;
        }
    }

    fn end(self) -> Result<Reply<B>, RemoteError> {
        self.last.unwrap_or_else(|| {
            let problem = RemoteProblem::Unreachable("no server is configured".to_owned());
            Err(self.client.error(self.exchange, self.first, problem, false))
        })
    }
}

fn timed_out(exchange: &Exchange, sent: bool) -> Failure {
    Failure {
        problem: RemoteProblem::TimedOut(ATTEMPT + exchange.wait),
        sent,
    }
}

/// What is wrong if a request fails on an open connection.
fn problem(error: &hyper::Error) -> RemoteProblem {
    if error.is_parse() {
        return RemoteProblem::Invalid(error.to_string());
    }
    match error
        .source()
        .and_then(|source| source.downcast_ref::<io::Error>())
    {
        Some(source) => socket::tls_problem(source),
        None => RemoteProblem::Unreachable(error.to_string()),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
