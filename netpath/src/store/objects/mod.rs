//! The model's objects in a store, as JSON; see [`records`] for the keys.

mod load;
mod nodes;
pub mod overlays;
pub mod publication;
pub mod records;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt::Display};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{Expected, Revision, Store, StoreError, Versioned, Write};
use crate::model::{
    Change, Endpoint, Name, Network, Sandbox, State, deny::Denials, state::StateError,
};
use records::{
    DenialRecord, EndpointDefinition, EndpointSlot, NetworkDefinition, NetworkSlot, SandboxRecord,
};

pub use load::load_state;
pub use nodes::{ALIVE, NODES, is_alive, node, node_id, nodes, remove_node, store_node};

/// Prefix of the keys of local records.
pub const LOCAL: &str = "local/";

/// Key of the highest slot generation that was ever used.
const GENERATION: &str = "local/generation";

/// Why objects cannot be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A key or its value is invalid.
    #[error(
        "key '{key}' of the store is invalid: {reason}; restore the store from a backup, or start the version that wrote it"
    )]
    Value {
        /// Key.
        key: String,
        /// Reason, as text for users.
        reason: String,
    },
    /// The objects contradict each other.
    #[error("the store is inconsistent: {0}; restore it from a backup")]
    Contradiction(#[from] StateError),
    /// Another writer has changed an object of the change.
    #[error("key '{key}' of the store was changed by another writer; repeat the request")]
    Changed {
        /// Key.
        key: String,
    },
}

/// Records by key.
type Records = BTreeMap<String, Value>;

/// Stores a change of `state`, and the highest generation after it, in one commit. `state` is the state before the
/// change or after it. The stored generation never decreases.
///
/// # Errors
/// [`ObjectError::Changed`] if the stored objects differ from those before the change, or an error of the store.
/// Nothing is stored then.
pub fn commit(store: &dyn Store, state: &State, change: &Change) -> Result<Revision, ObjectError> {
    let (before, after) = records_of(change)?;
    let mut writes = Vec::new();
    for key in before
        .keys()
        .chain(after.keys().filter(|key| !before.contains_key(*key)))
    {
        if before.get(key) != after.get(key) {
            writes.push(write(store, key, before.get(key), after.get(key))?);
        }
    }
    writes.extend(generation_write(store, state.generation_after(change))?);
    Ok(store.commit(&writes)?)
}

/// The records of a change's objects before and after it.
fn records_of(change: &Change) -> Result<(Records, Records), ObjectError> {
    let (mut before, mut after) = (Records::new(), Records::new());
    if let Change::Network {
        before: old,
        after: new,
    } = change
    {
        add_network(&mut before, old.as_deref())?;
        add_network(&mut after, new.as_deref())?;
    }
    if let Change::Denials {
        before: old,
        after: new,
    } = change
    {
        add_denials(&mut before, old)?;
        add_denials(&mut after, new)?;
    }
    let (old, new) = change.sandboxes();
    add_sandbox(&mut before, old)?;
    add_sandbox(&mut after, new)?;
    let (old, new) = change.unbound_endpoints();
    for (records, endpoint) in [(&mut before, old), (&mut after, new)] {
        if let Some(endpoint) = endpoint {
            add_endpoint(records, endpoint, None)?;
        }
    }
    Ok((before, after))
}

fn add_network(records: &mut Records, network: Option<&Network>) -> Result<(), ObjectError> {
    let Some(network) = network else {
        return Ok(());
    };
    let name = &network.name;
    let definition = NetworkDefinition::of(network);
    add(records, format!("local/networks/{name}"), &definition)?;
    let slot = NetworkSlot::of(network);
    add(records, format!("local/network-slots/{name}"), &slot)
}

fn add_sandbox(records: &mut Records, sandbox: Option<&Sandbox>) -> Result<(), ObjectError> {
    let Some(sandbox) = sandbox else {
        return Ok(());
    };
    for endpoint in &sandbox.endpoints {
        add_endpoint(records, endpoint, Some(&sandbox.name))?;
    }
    let key = format!("local/sandboxes/{}", sandbox.name);
    add(records, key, &SandboxRecord::of(sandbox))
}

fn add_endpoint(
    records: &mut Records,
    endpoint: &Endpoint,
    sandbox: Option<&Name>,
) -> Result<(), ObjectError> {
    let id = endpoint.id;
    let definition = EndpointDefinition::of(endpoint, sandbox);
    add(records, format!("local/endpoints/{id}"), &definition)?;
    let key = format!("local/endpoint-slots/{id}");
    add(records, key, &EndpointSlot::of(endpoint))
}

fn add_denials(records: &mut Records, denials: &Denials) -> Result<(), ObjectError> {
    for (prefix, expires) in denials {
        let record = DenialRecord { expires: *expires };
        add(records, format!("local/denied/{prefix}"), &record)?;
    }
    Ok(())
}

fn add(records: &mut Records, key: String, record: &impl Serialize) -> Result<(), ObjectError> {
    match serde_json::to_value(record) {
        Ok(value) => {
            records.insert(key, value);
            Ok(())
        }
        Err(error) => Err(ObjectError::Value {
            key,
            reason: error.to_string(),
        }),
    }
}

fn write(
    store: &dyn Store,
    key: &str,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Result<Write, ObjectError> {
    let found = store.get(key)?;
    let stored: Option<Value> = found.as_ref().map(parse).transpose()?;
    if stored.as_ref() != before {
        return Err(ObjectError::Changed {
            key: key.to_owned(),
        });
    }
    Ok(Write {
        key: key.to_owned(),
        value: after.map(|value| value.to_string().into_bytes()),
        expected: expected(found.as_ref()),
    })
}

fn generation_write(store: &dyn Store, generation: u32) -> Result<Option<Write>, ObjectError> {
    let found = store.get(GENERATION)?;
    let stored: u32 = found.as_ref().map_or(Ok(0), parse)?;
    if generation <= stored {
        return Ok(None);
    }
    Ok(Some(Write {
        key: GENERATION.to_owned(),
        value: Some(generation.to_string().into_bytes()),
        expected: expected(found.as_ref()),
    }))
}

fn expected(found: Option<&Versioned>) -> Expected {
    found.map_or(Expected::Nothing, |entry| {
        Expected::Revision(entry.revision)
    })
}

fn parse<T: DeserializeOwned>(entry: &Versioned) -> Result<T, ObjectError> {
    serde_json::from_slice(&entry.value).map_err(|error| invalid(&entry.key, error))
}

fn invalid(key: &str, reason: impl Display) -> ObjectError {
    ObjectError::Value {
        key: key.to_owned(),
        reason: reason.to_string(),
    }
}
