//! Calls of Consul: the token, the check of the schema, and the last known changes.

use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use hyper::{
    Method, StatusCode,
    header::{HeaderName, HeaderValue},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::wire::{self, CHANGES_KEY, Changes, KeyValue, Transaction};
use crate::store::{
    RemoteError, RemoteProblem, RemoteSettings, Revision, StoreError,
    remote::{Client, Exchange, Identity, ROOT, Reply, SCHEMA_KEY},
    watch::Hub,
};

/// The changes as of one index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Index of the commit that wrote them.
    pub index: Revision,
    pub changes: Changes,
}

/// The servers and what is known about them.
#[derive(Debug)]
pub struct Link {
    pub client: Client,
    pub hub: Hub,
    token: Option<HeaderValue>,
    /// Index of the schema key, after the first check.
    schema: Mutex<Option<Revision>>,
    /// Identity of the store; another one is refused.
    expected: Mutex<Option<String>>,
    position: Mutex<Option<Position>>,
    /// Held keys that a listing has returned.
    pub listed: Mutex<BTreeSet<String>>,
}

impl Link {
    pub fn new(settings: &RemoteSettings, expected: Option<String>) -> Result<Self, StoreError> {
        let token = Client::token(settings)?.map(|token| {
            HeaderValue::from_str(&token).map_err(|error| StoreError::Credentials {
                path: settings.token.clone().unwrap_or_default(),
                reason: error.to_string(),
            })
        });
        Ok(Self {
            client: Client::new(settings)?,
            hub: Hub::default(),
            token: token.transpose()?,
            schema: Mutex::default(),
            expected: Mutex::new(expected),
            position: Mutex::default(),
            listed: Mutex::default(),
        })
    }

    /// Identity of the store; `None` before the first check.
    pub fn expected(&self) -> Option<String> {
        lock(&self.expected).clone()
    }

    /// The last changes that a response contained.
    pub fn position(&self) -> Option<Position> {
        lock(&self.position).clone()
    }

    /// Records changes, unless later ones are known.
    pub fn note(&self, position: &Position) {
        let mut known = lock(&self.position);
        if known
            .as_ref()
            .is_none_or(|known| known.index < position.index)
        {
            *known = Some(position.clone());
        }
    }

    /// Records changes after the indexes of the store have gone back.
    pub fn reset(&self, position: Position) {
        *lock(&self.position) = Some(position);
    }

    /// Reads a key; `None` if it does not exist.
    pub async fn read(&self, key: &str) -> Result<Option<KeyValue>, RemoteError> {
        let path = format!("{}?consistent", wire::path(key));
        let exchange = Exchange::new("read a key", Method::GET, path);
        let found: Option<Vec<KeyValue>> = self.find(&exchange).await?.1;
        Ok(found.and_then(|mut found| found.pop()))
    }

    /// Reads the last changes.
    pub async fn read_position(&self) -> Result<Position, RemoteError> {
        const CALL: &str = "read the last changes";
        let Some(found) = self.read(CHANGES_KEY).await? else {
            return Err(self.replaced(CALL));
        };
        let position = self.parsed(CALL, &found)?;
        self.note(&position);
        Ok(position)
    }

    /// The changes in the value of their key.
    pub fn parsed(&self, call: &'static str, found: &KeyValue) -> Result<Position, RemoteError> {
        let changes = serde_json::from_slice(&found.value);
        let changes: Changes = changes.map_err(|_| self.error(call, foreign(CHANGES_KEY)))?;
        Ok(Position {
            index: found.modify_index,
            changes,
        })
    }

    /// Executes a transaction. Operations that failed are no error.
    pub async fn transaction(
        &self,
        call: &'static str,
        operations: &[Value],
        repeatable: bool,
    ) -> Result<Transaction, RemoteError> {
        let path = if repeatable {
            "/v1/txn?consistent"
        } else {
            "/v1/txn"
        };
        let exchange =
            Exchange::new(call, Method::PUT, path).with_body(json!(operations).to_string());
        let exchange = if repeatable {
            exchange
        } else {
            exchange.once()
        };
        let reply = self.send(&exchange).await?;
        if reply.status == StatusCode::CONFLICT {
            return parse(call, &reply);
        }
        parse(call, &checked(&exchange, reply)?)
    }

    /// The operation that fails if the schema has changed.
    pub async fn schema_check(&self) -> Result<Value, RemoteError> {
        let index = self.schema().await?;
        Ok(wire::operation(
            "check-index",
            SCHEMA_KEY,
            json!({ "Index": index }),
        ))
    }

    /// The index of the schema key. The first call checks that the store can be used, and writes the key if the store
    /// is empty.
    pub async fn schema(&self) -> Result<Revision, RemoteError> {
        let known = *lock(&self.schema);
        if let Some(index) = known {
            return Ok(index);
        }
        let index = self.check_schema().await?;
        *lock(&self.schema) = Some(index);
        Ok(index)
    }

    async fn check_schema(&self) -> Result<Revision, RemoteError> {
        const CALL: &str = "check the schema";
        let path = format!("{}?keys&separator=/&consistent", wire::path(ROOT));
        let exchange = Exchange::new(CALL, Method::GET, path);
        let keys: Vec<String> = self.find(&exchange).await?.1.unwrap_or_default();
        let obstacle = |key: &String| Identity::obstacle(key).filter(|_| key != CHANGES_KEY);
        if let Some(problem) = keys.iter().find_map(obstacle) {
            return Err(self.error(CALL, problem));
        }
        let expected = self.expected();
        if keys.is_empty() && expected.is_none() {
            // Another node may write the keys at the same time.
            let value = serde_json::to_vec(&Identity::random()).unwrap_or_default();
            let changes = serde_json::to_vec(&Changes::default()).unwrap_or_default();
            let create = |key, value: &[u8]| {
                wire::operation(
                    "cas",
                    key,
                    json!({ "Index": 0, "Value": wire::encoded(value) }),
                )
            };
            let operations = [create(SCHEMA_KEY, &value), create(CHANGES_KEY, &changes)];
            self.transaction(CALL, &operations, false).await?;
        }
        match self.read(SCHEMA_KEY).await? {
            Some(found) => {
                let identity = Identity::read_expected(&found.value, expected.as_deref());
                let identity = identity.map_err(|problem| self.error(CALL, problem))?;
                *lock(&self.expected) = Some(identity.id);
                self.read_position().await?;
                Ok(found.modify_index)
            }
            None => Err(self.error(
                CALL,
                match keys.first() {
                    Some(key) => foreign(key),
                    None => RemoteProblem::Replaced,
                },
            )),
        }
    }

    /// The error of a call that found other keys of the schema. The next call checks them again.
    pub fn replaced(&self, call: &'static str) -> RemoteError {
        *lock(&self.schema) = None;
        self.error(call, RemoteProblem::Replaced)
    }

    pub fn error(&self, call: &'static str, problem: RemoteProblem) -> RemoteError {
        RemoteError {
            call,
            server: self.client.server(),
            problem,
            uncertain: false,
        }
    }

    /// Makes a call that returns nothing if an object does not exist. Returns the index of the response too.
    pub async fn find<T: DeserializeOwned>(
        &self,
        exchange: &Exchange,
    ) -> Result<(Revision, Option<T>), RemoteError> {
        let reply = self.send(exchange).await?;
        let index = reply.headers.get("x-consul-index");
        let index = index.and_then(|index| index.to_str().ok()?.parse().ok());
        let index = index.unwrap_or_default();
        if reply.status == StatusCode::NOT_FOUND {
            return Ok((index, None));
        }
        let reply = checked(exchange, reply)?;
        Ok((index, Some(parse(exchange.call, &reply)?)))
    }

    async fn send(&self, exchange: &Exchange) -> Result<Reply, RemoteError> {
        let mut exchange = exchange.clone();
        if let Some(token) = &self.token {
            let name = HeaderName::from_static("x-consul-token");
            exchange.headers.push((name, token.clone()));
        }
        self.client.call(&exchange).await
    }
}

fn foreign(key: &str) -> RemoteProblem {
    RemoteProblem::Foreign {
        key: key.to_owned(),
    }
}

/// Turns a response with an error status into an error.
fn checked(exchange: &Exchange, reply: Reply) -> Result<Reply, RemoteError> {
    if reply.status.is_success() {
        return Ok(reply);
    }
    let text = reply.line();
    let problem = match reply.status {
        StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => RemoteProblem::Token(text),
        status if status.is_server_error() => RemoteProblem::Unavailable(text),
        _ => RemoteProblem::Refused(text),
    };
    let uncertain = !exchange.repeatable && matches!(problem, RemoteProblem::Unavailable(_));
    Err(RemoteError {
        call: exchange.call,
        server: reply.server,
        problem,
        uncertain,
    })
}

fn parse<T: DeserializeOwned>(call: &'static str, reply: &Reply) -> Result<T, RemoteError> {
    serde_json::from_slice(&reply.body).map_err(|error| RemoteError {
        call,
        server: reply.server.clone(),
        problem: RemoteProblem::Invalid(error.to_string()),
        uncertain: false,
    })
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
