//! Copies of endpoints of overlay networks for other nodes. A copy decides nothing: the endpoint is an object of its node.

use std::collections::BTreeMap;

use super::{
    ObjectError,
    overlays::{delete, put},
    parse,
    records::PublishedEndpoint,
};
use crate::{
    model::{Id, Name},
    store::{Expected, Store},
};

/// Prefix of the keys of published endpoints.
pub const ENDPOINTS: &str = "shared/endpoints/";

/// Number of writes of one commit. Every store accepts that many.
pub const BATCH: usize = 64;

/// The published endpoints of one node.
///
/// # Errors
/// The store cannot be read, or its contents are invalid; the error names the key.
pub fn published(
    store: &dyn Store,
    node: &Name,
) -> Result<BTreeMap<Id, PublishedEndpoint>, ObjectError> {
    let mut all = all_published(store)?;
    all.retain(|_, endpoint| endpoint.node == *node);
    Ok(all)
}

/// The published endpoints of all nodes.
///
/// # Errors
/// As [`published`].
pub fn all_published(store: &dyn Store) -> Result<BTreeMap<Id, PublishedEndpoint>, ObjectError> {
    let entries = store.list(ENDPOINTS)?.entries;
    let endpoints = entries.iter().map(|entry| {
        let endpoint: PublishedEndpoint = parse(entry)?;
        Ok((endpoint.id, endpoint))
    });
    endpoints.collect()
}

/// Publishes endpoints, or withdraws those without a value. At most [`BATCH`] of them.
///
/// # Errors
/// The store cannot be written.
pub fn publish(
    store: &dyn Store,
    changes: &BTreeMap<Id, Option<PublishedEndpoint>>,
) -> Result<(), ObjectError> {
    let mut writes = Vec::with_capacity(changes.len());
    for (id, endpoint) in changes {
        let key = format!("{ENDPOINTS}{id}");
        writes.push(match endpoint {
            Some(endpoint) => put(key, endpoint, Expected::Anything)?,
            None => delete(key, Expected::Anything),
        });
    }
    store.commit(&writes)?;
    Ok(())
}

/// Withdraws every endpoint that a node has published.
///
/// # Errors
/// The store cannot be read or written, or its contents are invalid.
pub fn withdraw(store: &dyn Store, node: &Name) -> Result<(), ObjectError> {
    let ids: Vec<Id> = published(store, node)?.into_keys().collect();
    let mut batches = ids.chunks(BATCH);
    batches.try_for_each(|ids| publish(store, &ids.iter().map(|id| (*id, None)).collect()))
}
