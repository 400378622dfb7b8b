//! A key with a session.

use std::{sync::Arc, time::Duration};

use hyper::Method;
use serde_json::{Value, json};

use super::{
    link::Link,
    wire::{self, Session},
};
use crate::store::{RemoteError, RemoteProblem, hold::Lease, remote::Exchange};

/// Shortest time to live of a session.
const SHORTEST: Duration = Duration::from_secs(10);
/// Holds one key.
#[derive(Debug)]
pub struct Task {
    link: Arc<Link>,
    /// Full key.
    key: String,
    value: Vec<u8>,
    ttl: Duration,
    /// Identifier of the session; empty without one.
    session: String,
}

impl Task {
    pub fn new(link: Arc<Link>, key: &str, value: &[u8], ttl: Duration) -> Self {
        Self {
            link,
            key: wire::full(key),
            value: value.to_owned(),
            ttl: ttl.max(SHORTEST),
            session: String::new(),
        }
    }

    /// Writes the key with a new session, unless it has another value, which is the inner error.
    pub async fn acquire(mut self) -> Result<(Self, Result<(), String>), RemoteError> {
        let held = self.write().await?;
        Ok((self, held))
    }

    async fn write(&mut self) -> Result<Result<(), String>, RemoteError> {
        const CALL: &str = "hold a key";
        let schema = self.link.schema_check().await?;
        // A session of an earlier process of this node is ended.
        if let Some(found) = self.link.read(&self.key).await? {
            if found.value != self.value {
                return Ok(Err(String::from_utf8_lossy(&found.value).into_owned()));
            }
            if let Some(session) = found.session {
                self.destroy(&session).await?;
            }
        }
        let session = self.create().await?;
        let fields = json!({ "Value": wire::encoded(&self.value), "Session": session });
        let lock = wire::operation("lock", &self.key, fields);
        let done = self.link.transaction(CALL, &[schema, lock], false).await?;
        if done.errors.is_empty() {
            self.session = session;
            return Ok(Ok(()));
        }
        self.destroy(&session).await?;
        if done.errors.iter().any(|error| error.op_index == 0) {
            return Err(self.link.replaced(CALL));
        }
        match self.link.read(&self.key).await? {
            Some(found) if found.value != self.value => {
                Ok(Err(String::from_utf8_lossy(&found.value).into_owned()))
            }
            _ => {
                let texts: Vec<_> = done.errors.into_iter().map(|error| error.what).collect();
                let problem = RemoteProblem::Unavailable(texts.join("; "));
                Err(self.link.error(CALL, problem))
            }
        }
    }

    async fn create(&self) -> Result<String, RemoteError> {
        const CALL: &str = "create a session";
        // Only the time to live ends the session, not the state of Consul's agent.
        let body = json!({
            "Name": "netpath",
            "TTL": format!("{}s", self.ttl.as_secs()),
            "Behavior": "delete",
            "LockDelay": "0s",
            "NodeChecks": [],
            "Checks": [],
        });
        let exchange = Exchange::new(CALL, Method::PUT, "/v1/session/create");
        let exchange = exchange.with_body(body.to_string());
        match self.link.find::<Session>(&exchange).await?.1 {
            Some(session) => Ok(session.id),
            None => {
                let problem = RemoteProblem::Invalid("no session in the response".to_owned());
                Err(self.link.error(CALL, problem))
            }
        }
    }

    /// Ends a session, which removes its key.
    async fn destroy(&self, session: &str) -> Result<(), RemoteError> {
        let path = format!("/v1/session/destroy/{session}");
        let exchange = Exchange::new("end a session", Method::PUT, path);
        self.link.find::<Value>(&exchange).await?;
        Ok(())
    }
}

impl Lease for Task {
    fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Renews the session; writes the key again if the session has expired.
    async fn renew(&mut self) -> Result<Result<(), String>, RemoteError> {
        let path = format!("/v1/session/renew/{}", self.session);
        let exchange = Exchange::new("renew a session", Method::PUT, path);
        match self.link.find::<Value>(&exchange).await?.1 {
            Some(_) => Ok(Ok(())),
            None => self.write().await,
        }
    }

    async fn end(self) -> Result<(), RemoteError> {
        self.destroy(&self.session).await
    }
}
