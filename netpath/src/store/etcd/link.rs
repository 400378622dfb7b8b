//! Calls of etcd: authentication, the check of the schema, and the latest known revision.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use hyper::{
    Method,
    header::{AUTHORIZATION, HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::wire::{self, Authenticated, Failure, Header, Range, Transaction};
use crate::store::{
    RemoteError, RemoteProblem, RemoteSettings, Revision, StoreError,
    remote::{Client, Exchange, Identity, KEYS, ROOT, Reply, SCHEMA_KEY},
    watch::Hub,
};

/// Codes of gRPC.
const INVALID: u32 = 3;
const DEADLINE: u32 = 4;
const PERMISSION: u32 = 7;
const UNAVAILABLE: u32 = 14;
const UNAUTHENTICATED: u32 = 16;

/// The servers and what is known about them.
#[derive(Debug)]
pub struct Link {
    pub client: Client,
    pub hub: Hub,
    /// User and password.
    credentials: Option<(String, String)>,
    /// Token of the last authentication.
    token: Mutex<Option<String>>,
    /// The value of the schema key, after the first check.
    identity: Mutex<Option<Vec<u8>>>,
    /// Identity of the store; another one is refused.
    expected: Mutex<Option<String>>,
    /// Latest revision of a response.
    known: AtomicU64,
}

impl Link {
    pub fn new(settings: &RemoteSettings, expected: Option<String>) -> Result<Self, StoreError> {
        let credentials = Client::token(settings)?
            .map(|text| match text.split_once(':') {
                Some((user, password)) => Ok((user.to_owned(), password.to_owned())),
                None => Err(StoreError::Credentials {
                    path: settings.token.clone().unwrap_or_default(),
                    reason: "it does not contain USER:PASSWORD".to_owned(),
                }),
            })
            .transpose()?;
        Ok(Self {
            client: Client::new(settings)?,
            hub: Hub::default(),
            credentials,
            token: Mutex::default(),
            identity: Mutex::default(),
            expected: Mutex::new(expected),
            known: AtomicU64::new(0),
        })
    }

    /// Latest revision that a response contained; 0 before the first response.
    pub fn known(&self) -> Revision {
        self.known.load(Ordering::Acquire)
    }

    fn note(&self, header: &Header) {
        self.known.fetch_max(header.revision, Ordering::AcqRel);
    }

    /// Forgets the known revision, after the revisions of the store have gone back.
    pub fn reset(&self, revision: Revision) {
        self.known.store(revision, Ordering::Release);
    }

    /// Identity of the store; `None` before the first check.
    pub fn expected(&self) -> Option<String> {
        lock(&self.expected).clone()
    }

    /// Reads a range of keys, if the schema is the expected one.
    pub async fn range(&self, range: &Value) -> Result<Range, RemoteError> {
        const CALL: &str = "read keys";
        let body = json!({
            "compare": [schema(&self.identity().await?)],
            "success": [{ "request_range": range }],
        });
        let mut done = self.transaction(CALL, &body, true).await?;
        let found = done
            .responses
            .pop()
            .and_then(|operation| operation.response_range);
        match found {
            Some(found) if done.succeeded => Ok(Range {
                header: done.header,
                ..found
            }),
            _ => Err(self.replaced(CALL)),
        }
    }

    /// Executes a transaction.
    pub async fn transaction(
        &self,
        call: &'static str,
        body: &Value,
        repeatable: bool,
    ) -> Result<Transaction, RemoteError> {
        let done: Transaction = self.call(call, "/v3/kv/txn", body, repeatable).await?;
        self.note(&done.header);
        Ok(done)
    }

    /// The value of the schema key. The first call checks that the store can be used, and writes the key if the store
    /// is empty.
    pub async fn identity(&self) -> Result<Vec<u8>, RemoteError> {
        let known = lock(&self.identity).clone();
        if let Some(identity) = known {
            return Ok(identity);
        }
        let value = self.check_schema().await?;
        let identity = Identity::read_expected(&value, self.expected().as_deref());
        let identity = identity.map_err(|problem| self.error("check the schema", problem))?;
        *lock(&self.expected) = Some(identity.id);
        *lock(&self.identity) = Some(value.clone());
        Ok(value)
    }

    async fn check_schema(&self) -> Result<Vec<u8>, RemoteError> {
        const CALL: &str = "check the schema";
        let error = |problem| self.error(CALL, problem);
        // Read first: another call may write the key while this one waits for a reply that does not contain it yet.
        let expected = self.expected();
        // The keys before and after those of this schema, without the values of those.
        let limited = |mut range: Value| {
            range["limit"] = json!(8);
            json!({ "request_range": range })
        };
        let after = format!("{}0", KEYS.trim_end_matches('/'));
        let end = format!("{}0", ROOT.trim_end_matches('/'));
        let mut own = wire::with_prefix(KEYS);
        own["keys_only"] = json!(true);
        let reads = json!({ "success": [
            limited(wire::between(ROOT, KEYS)),
            limited(wire::between(&after, &end)),
            limited(own),
        ] });
        let found = self.transaction(CALL, &reads, true).await?;
        let found: Vec<_> = found.ranges().flatten().collect();
        if let Some(problem) = found
            .iter()
            .find_map(|entry| Identity::obstacle(&entry.key))
        {
            return Err(error(problem));
        }
        if let Some(entry) = found.iter().find(|entry| entry.key == SCHEMA_KEY) {
            return Ok(entry.value.clone());
        }
        if let Some(entry) = found.first() {
            let key = entry.key.clone();
            return Err(error(RemoteProblem::Foreign { key }));
        }
        if expected.is_some() {
            return Err(error(RemoteProblem::Replaced));
        }
        let identity = wire::body(&Identity::random());
        let write = json!({
            "compare": [{ "key": wire::encoded(SCHEMA_KEY), "target": "CREATE", "create_revision": "0" }],
            "success": [{ "request_put": {
                "key": wire::encoded(SCHEMA_KEY),
                "value": wire::encoded_value(&identity),
            } }],
            "failure": [{ "request_range": { "key": wire::encoded(SCHEMA_KEY) } }],
        });
        let done = self.transaction(CALL, &write, true).await?;
        if done.succeeded {
            return Ok(identity);
        }
        // Another node has written the key at the same time.
        match done.ranges().flatten().next() {
            Some(entry) => Ok(entry.value),
            None => Err(error(RemoteProblem::Replaced)),
        }
    }

    /// The error of a transaction that found another value in the schema key. The next call checks it again.
    pub fn replaced(&self, call: &'static str) -> RemoteError {
        *lock(&self.identity) = None;
        self.error(call, RemoteProblem::Replaced)
    }

    fn error(&self, call: &'static str, problem: RemoteProblem) -> RemoteError {
        RemoteError {
            call,
            server: self.client.server(),
            problem,
            uncertain: false,
        }
    }

    /// Makes a call. Authenticates before it, and once more if the token has expired.
    pub async fn call<T: DeserializeOwned>(
        &self,
        call: &'static str,
        path: &str,
        body: &Value,
        repeatable: bool,
    ) -> Result<T, RemoteError> {
        let exchange = exchange(call, path, body, repeatable);
        let mut last = false;
        loop {
            let reply = self.client.call(&self.authorised(&exchange).await?).await?;
            match checked(call, reply, repeatable) {
                // The token is removed, so this is executed once.
                Err(error) if !last && self.expires(&error) => last = true,
                result => return parse(call, &result?),
            }
        }
    }

    /// Opens a stream. Authenticates before it.
    pub async fn stream(
        &self,
        call: &'static str,
        path: &str,
        body: &Value,
    ) -> Result<Reply<hyper::body::Incoming>, RemoteError> {
        let mut exchange = exchange(call, path, body, true);
        // Without a leader the server ends the stream.
        exchange.headers.push((
            HeaderName::from_static("grpc-metadata-hasleader"),
            HeaderValue::from_static("true"),
        ));
        self.client.stream(&self.authorised(&exchange).await?).await
    }

    /// Whether an error means that the token has expired. The token is removed then.
    pub fn expires(&self, error: &RemoteError) -> bool {
        let denied = matches!(error.problem, RemoteProblem::Token(_));
        denied && self.credentials.is_some() && lock(&self.token).take().is_some()
    }

    async fn authorised(&self, exchange: &Exchange) -> Result<Exchange, RemoteError> {
        let mut exchange = exchange.clone();
        if let Some(token) = self.token().await? {
            let value = HeaderValue::from_str(&token).map_err(|error| {
                self.error("authenticate", RemoteProblem::Invalid(error.to_string()))
            })?;
            exchange.headers.push((AUTHORIZATION, value));
        }
        Ok(exchange)
    }

    async fn token(&self) -> Result<Option<String>, RemoteError> {
        const CALL: &str = "authenticate";
        let Some((name, password)) = &self.credentials else {
            return Ok(None);
        };
        let present = lock(&self.token).clone();
        if present.is_some() {
            return Ok(present);
        }
        let body = json!({ "name": name, "password": password });
        let exchange = exchange(CALL, "/v3/auth/authenticate", &body, true);
        let reply = checked(CALL, self.client.call(&exchange).await?, true)?;
        let answer: Authenticated = parse(CALL, &reply)?;
        *lock(&self.token) = Some(answer.token.clone());
        Ok(Some(answer.token))
    }
}

/// The comparison that fails if the schema has changed.
pub fn schema(identity: &[u8]) -> Value {
    json!({
        "key": wire::encoded(SCHEMA_KEY),
        "target": "VALUE",
        "value": wire::encoded_value(identity),
    })
}

/// The key of the store with this full key.
pub fn short(key: &str) -> Option<&str> {
    key.strip_prefix(KEYS)
}

fn exchange(call: &'static str, path: &str, body: &Value, repeatable: bool) -> Exchange {
    Exchange {
        repeatable,
        ..Exchange::new(call, Method::POST, path).with_body(wire::body(body))
    }
}

/// Turns a response with an error status into an error.
pub fn checked(call: &'static str, reply: Reply, repeatable: bool) -> Result<Reply, RemoteError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let failure: Option<Failure> = serde_json::from_slice(&reply.body).ok();
    let problem = match failure {
        Some(failure) => problem(failure),
        None if reply.status.is_server_error() => RemoteProblem::Unavailable(reply.line()),
        None => RemoteProblem::Invalid(reply.line()),
    };
    let uncertain = !repeatable && matches!(problem, RemoteProblem::Unavailable(_));
    Err(RemoteError {
        call,
        server: reply.server,
        problem,
        uncertain,
    })
}

/// What is wrong, from an error of etcd.
pub fn problem(failure: Failure) -> RemoteProblem {
    let text = if failure.message.is_empty() {
        failure.error
    } else {
        failure.message
    };
    match failure.code {
        PERMISSION | UNAUTHENTICATED => RemoteProblem::Token(text),
        INVALID
            if text.contains("authentication failed") || text.contains("user name is empty") =>
        {
            RemoteProblem::Token(text)
        }
        UNAVAILABLE | DEADLINE => RemoteProblem::Unavailable(text),
        // "authentication is not enabled" and the like.
        _ => RemoteProblem::Refused(text),
    }
}

fn parse<T: DeserializeOwned>(call: &'static str, reply: &Reply) -> Result<T, RemoteError> {
    serde_json::from_slice(&reply.body).map_err(|error| RemoteError {
        call,
        server: reply.server.clone(),
        problem: RemoteProblem::Invalid(error.to_string()),
        uncertain: false,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
