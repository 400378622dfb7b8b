//! A key with a lease.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use super::{
    link::{Link, schema},
    wire::{self, Grant, Message},
};
use crate::store::{RemoteError, hold::Lease};

/// Holds one key.
#[derive(Debug)]
pub struct Task {
    link: Arc<Link>,
    key: String,
    value: Vec<u8>,
    ttl: Duration,
    /// Identifier of the lease; 0 without one.
    lease: u64,
}

impl Task {
    pub fn new(link: Arc<Link>, key: &str, value: &[u8], ttl: Duration) -> Self {
        Self {
            link,
            key: wire::encoded(&wire::full(key)),
            value: value.to_owned(),
            ttl,
            lease: 0,
        }
    }

    /// Writes the key with a new lease, unless it has another value, which is the inner error.
    pub async fn acquire(mut self) -> Result<(Self, Result<(), String>), RemoteError> {
        let held = self.write().await?;
        Ok((self, held))
    }

    async fn write(&mut self) -> Result<Result<(), String>, RemoteError> {
        const CALL: &str = "hold a key";
        let identity = self.link.identity().await?;
        let body = json!({ "TTL": self.ttl.as_secs().max(1).to_string() });
        let lease: Grant = self
            .link
            .call("create a lease", "/v3/lease/grant", &body, true)
            .await?;
        let value = wire::encoded_value(&self.value);
        let put = json!({ "request_put": {
            "key": self.key,
            "value": value,
            "lease": lease.id.to_string(),
        } });
        let schema = schema(&identity);
        let own = json!({ "key": self.key, "target": "VALUE", "value": value });
        let absent = json!({ "key": self.key, "target": "CREATE", "create_revision": "0" });
        let read = json!({ "request_range": { "key": self.key } });
        // The key is written if it is absent or has this value.
        let body = json!({
            "compare": [schema, absent],
            "success": [put],
            "failure": [{ "request_txn": {
                "compare": [schema, own],
                "success": [put],
                "failure": [read],
            } }],
        });
        let _: serde_json::Value = self.link.call(CALL, "/v3/kv/txn", &body, true).await?;
        let found = self.link.range(&json!({ "key": self.key })).await?;
        match found.kvs.into_iter().next() {
            Some(entry) if entry.value == self.value => {
                self.lease = lease.id;
                Ok(Ok(()))
            }
            found => {
                self.revoke(lease.id).await?;
                match found {
                    Some(entry) => Ok(Err(String::from_utf8_lossy(&entry.value).into_owned())),
                    None => Err(self.link.replaced(CALL)),
                }
            }
        }
    }

    async fn revoke(&self, lease: u64) -> Result<(), RemoteError> {
        let body = json!({ "ID": lease.to_string() });
        let _: serde_json::Value = self
            .link
            .call("end a lease", "/v3/lease/revoke", &body, true)
            .await?;
        Ok(())
    }
}

impl Lease for Task {
    fn ttl(&self) -> Duration {
        self.ttl
    }

    /// Renews the lease; writes the key again if the lease has expired.
    async fn renew(&mut self) -> Result<Result<(), String>, RemoteError> {
        let body = json!({ "ID": self.lease.to_string() });
        let renewed: Message<Grant> = self
            .link
            .call("renew a lease", "/v3/lease/keepalive", &body, true)
            .await?;
        if renewed.result.is_some_and(|lease| lease.ttl > 0) {
            return Ok(Ok(()));
        }
        self.write().await
    }

    async fn end(self) -> Result<(), RemoteError> {
        self.revoke(self.lease).await
    }
}
