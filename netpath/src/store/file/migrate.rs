//! Migration of the entries of older schemas.

use serde_json::{Map, Value, json};

/// Keys and values of a store.
pub type Entries = Vec<(String, Vec<u8>)>;

/// Entries of the current schema from those of an older one. Schema 3 adds `shared/nodes/NAME` and `local/node`; every
/// entry of schema 2 is also an entry of schema 3. The error is the key of an entry that does not belong to `schema`.
pub fn to_current(schema: u64, entries: Entries) -> Result<Entries, String> {
    match schema {
        1 => from_schema_1(entries),
        _ => Ok(entries),
    }
}

/// Entries of schema 2 from those of schema 1: in schema 1, `networks/NAME` and `sandboxes/NAME` contain whole
/// objects, and `meta/generation` contains the highest generation.
fn from_schema_1(entries: Entries) -> Result<Entries, String> {
    let mut migrated = Vec::new();
    for (key, value) in entries {
        let moved = match key.split_once('/') {
            Some(("networks", name)) => network(name, &value),
            Some(("sandboxes", name)) => sandbox(name, &value),
            Some(("meta", "generation")) => Some(vec![("local/generation".to_owned(), value)]),
            _ => None,
        };
        migrated.extend(moved.ok_or(key)?);
    }
    Ok(migrated)
}

fn network(name: &str, value: &[u8]) -> Option<Entries> {
    let mut network = object(value)?;
    let index = network.remove("index")?;
    network.insert("owner".to_owned(), json!("netpath"));
    let slot = json!({ "index": index, "adopted": null });
    Some(vec![
        entry(format!("local/networks/{name}"), &network.into()),
        entry(format!("local/network-slots/{name}"), &slot),
    ])
}

fn sandbox(name: &str, value: &[u8]) -> Option<Entries> {
    let mut sandbox = object(value)?;
    let process = sandbox.remove("owner")?;
    sandbox.insert("process".to_owned(), process);
    sandbox.insert("owner".to_owned(), json!("netpath"));
    let mut ids = Vec::new();
    let mut entries = Vec::new();
    for endpoint in sandbox.remove("endpoints")?.as_array()? {
        let id = endpoint.get("id")?.as_str()?.to_owned();
        let field = |name: &str| endpoint.get(name).cloned();
        let definition = json!({
            "id": id,
            "network": field("network")?,
            "sandbox": name,
            "mac": field("mac")?,
            "addresses": field("addresses")?,
            "owner": "netpath",
        });
        let slot = json!({
            "interface": field("interface")?,
            "adopted": null,
            "slot": field("slot")?,
            "generation": field("generation")?,
        });
        entries.push(entry(format!("local/endpoints/{id}"), &definition));
        entries.push(entry(format!("local/endpoint-slots/{id}"), &slot));
        ids.push(json!(id));
    }
    sandbox.insert("endpoints".to_owned(), ids.into());
    entries.push(entry(format!("local/sandboxes/{name}"), &sandbox.into()));
    Some(entries)
}

fn object(value: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(value).ok()? {
        Value::Object(object) => Some(object),
        _ => None,
    }
}

fn entry(key: String, value: &Value) -> (String, Vec<u8>) {
    (key, value.to_string().into_bytes())
}
