//! Records of nodes. Each node writes only its own record.

use super::{ObjectError, expected, parse, records::NodeRecord};
use crate::{
    model::Name,
    store::{Revision, Store, Versioned, Write},
};

/// Prefix of the keys of nodes.
const NODES: &str = "shared/nodes/";

/// Key of the name under which this node has stored its record last.
pub(super) const OWN_NAME: &str = "local/node";

/// Every node, by name.
///
/// # Errors
/// The store cannot be read, or a record is invalid.
pub fn nodes(store: &dyn Store) -> Result<Vec<NodeRecord>, ObjectError> {
    store.list(NODES)?.entries.iter().map(parse).collect()
}

/// Stores the record of this node, and removes the record under the previous name of the node. Returns the revision of
/// the commit; `None` if the stored record is equal.
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
    if stored_name.as_ref() != Some(&node.name) {
        writes.push(replacement(OWN_NAME, own_name.as_ref(), &node.name)?);
    }
    if let Some(earlier) = stored_name.filter(|name| *name != node.name) {
        let key = format!("{NODES}{earlier}");
        writes.push(Write {
            expected: expected(store.get(&key)?.as_ref()),
            value: None,
            key,
        });
    }
    if writes.is_empty() {
        return Ok(None);
    }
    Ok(Some(store.commit(&writes)?))
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
