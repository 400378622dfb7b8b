//! Records of nodes. Each node writes only its own record, except that [`remove_node`] marks another one as removed.

use super::{ObjectError, expected, parse, records::NodeRecord};
use crate::{
    model::{Id, Name},
    store::{HELD, Revision, Store, Versioned, Write},
};

/// Prefix of the keys of nodes.
pub const NODES: &str = "shared/nodes/";

/// Prefix of the keys that exist while a node is running; the value is the id of the node.
pub const ALIVE: &str = HELD;

/// Key of the name under which this node has stored its record last.
pub(super) const OWN_NAME: &str = "local/node";

/// Key of the id of this node.
pub(super) const OWN_ID: &str = "local/node-id";

/// Every node, by name.
///
/// # Errors
/// The store cannot be read, or a record is invalid.
pub fn nodes(store: &dyn Store) -> Result<Vec<NodeRecord>, ObjectError> {
    let entries = store.list(NODES)?.entries;
    let records = entries.iter().map(|entry| {
        let record: NodeRecord = parse(entry)?;
        if entry.key == format!("{NODES}{}", record.name) {
            return Ok(record);
        }
        let reason = format!("its object is named '{}'", record.name);
        Err(super::invalid(&entry.key, reason))
    });
    records.collect()
}

/// The id of this node, which is `new` from its first start on; and the revision of the commit that has stored it.
///
/// # Errors
/// The store cannot be read or written.
pub fn node_id(store: &dyn Store, new: Id) -> Result<(Id, Option<Revision>), ObjectError> {
    match store.get(OWN_ID)? {
        Some(found) => Ok((parse(&found)?, None)),
        None => {
            let revision = store.commit(&[replacement(OWN_ID, None, &new)?])?;
            Ok((new, Some(revision)))
        }
    }
}

/// The record of a node; `None` if there is none.
///
/// # Errors
/// The store cannot be read, or the record is invalid.
pub fn node(store: &dyn Store, name: &Name) -> Result<Option<NodeRecord>, ObjectError> {
    let found = store.get(&format!("{NODES}{name}"))?;
    found.as_ref().map(parse).transpose()
}

/// Whether the node is running, according to the store.
///
/// # Errors
/// The store cannot be read.
pub fn is_alive(store: &dyn Store, name: &Name) -> Result<bool, ObjectError> {
    Ok(store.get(&format!("{ALIVE}{name}"))?.is_some())
}

/// Marks the record of a node as removed.
///
/// # Errors
/// The store cannot be read or written, or the node changes its record at the same time.
pub fn remove_node(store: &dyn Store, record: &NodeRecord) -> Result<(), ObjectError> {
    let key = format!("{NODES}{}", record.name);
    let found = store.get(&key)?;
    let removed = NodeRecord {
        removed: true,
        ..record.clone()
    };
    store.commit(&[replacement(&key, found.as_ref(), &removed)?])?;
    Ok(())
}

/// Stores the record of this node, and removes the record under the previous name of the node. Returns the revision of
/// the last commit; `None` if the stored record is equal.
///
/// # Errors
/// The store cannot be read or written, or one of the keys is invalid.
pub fn store_node(store: &dyn Store, node: &NodeRecord) -> Result<Option<Revision>, ObjectError> {
    let own_name = store.get(OWN_NAME)?;
    let stored_name: Option<Name> = own_name.as_ref().map(parse).transpose()?;
    let key = format!("{NODES}{}", node.name);
    let found = store.get(&key)?;
    let stored: Option<NodeRecord> = found.as_ref().map(parse).transpose()?;
    let mut writes = Vec::new();
    if stored.as_ref() != Some(node) {
        writes.push(replacement(&key, found.as_ref(), node)?);
    }
    if let Some(earlier) = stored_name.as_ref().filter(|name| **name != node.name) {
        let key = format!("{NODES}{earlier}");
        writes.push(Write {
            expected: expected(store.get(&key)?.as_ref()),
            value: None,
            key,
        });
    }
    let mut revision = None;
    if !writes.is_empty() {
        revision = Some(store.commit(&writes)?);
    }
    // The local record comes last: after a crash between the two commits, the earlier record is removed at the next start.
    if stored_name.as_ref() != Some(&node.name) {
        let write = replacement(OWN_NAME, own_name.as_ref(), &node.name)?;
        revision = Some(store.commit(&[write])?);
    }
    Ok(revision)
}

fn replacement(
    key: &str,
    found: Option<&Versioned>,
    record: &impl serde::Serialize,
) -> Result<Write, ObjectError> {
    let value = serde_json::to_vec(record).map_err(|error| super::invalid(key, error))?;
    Ok(Write {
        key: key.to_owned(),
        value: Some(value),
        expected: expected(found),
    })
}
