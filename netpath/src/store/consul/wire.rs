//! Messages of Consul's HTTP API.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, json};

use crate::store::remote::KEYS;

/// Key of the last changes, as [`Changes`].
pub const CHANGES_KEY: &str = "netpath/changes";
/// Number of changes that [`Changes`] names.
const KEPT: usize = 128;

/// The last changes of keys. Every commit writes it, so watches wait for this key only.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Number of changes since the store was created.
    pub count: u64,
    /// Keys of the last changes, the latest one last.
    pub keys: Vec<String>,
}

impl Changes {
    /// With further changes.
    pub fn with<'a>(&self, keys: impl Iterator<Item = &'a String>) -> Self {
        let mut all = self.keys.clone();
        all.extend(keys.cloned());
        let count = self.count + (all.len() - self.keys.len()) as u64;
        let surplus = all.len().saturating_sub(KEPT);
        Self {
            count,
            keys: all.split_off(surplus),
        }
    }

    /// Keys of the changes after the first `count`, each once; `None` if this does not name all of them.
    pub fn since(&self, count: u64) -> Option<Vec<&String>> {
        let missed = usize::try_from(self.count.checked_sub(count)?).ok()?;
        let first = self.keys.len().checked_sub(missed)?;
        let mut keys = Vec::new();
        for key in self.keys.get(first..)? {
            keys.retain(|other| *other != key);
            keys.push(key);
        }
        Some(keys)
    }
}

/// A key with its value.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyValue {
    /// Full key.
    pub key: String,
    /// Value.
    #[serde(default, deserialize_with = "bytes")]
    pub value: Vec<u8>,
    /// Index of the last change.
    pub modify_index: u64,
    /// Session that holds the key.
    #[serde(default)]
    pub session: Option<String>,
}

/// A result of an operation of a transaction.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Outcome {
    /// The key after the operation.
    #[serde(default, rename = "KV")]
    pub kv: Option<KeyValue>,
}

/// Why an operation of a transaction failed.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failure {
    /// Number of the operation.
    pub op_index: usize,
    /// Description.
    pub what: String,
}

/// Response to a transaction.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Transaction {
    /// Results; none if an operation failed.
    #[serde(default, deserialize_with = "list")]
    pub results: Vec<Outcome>,
    /// Operations that failed.
    #[serde(default, deserialize_with = "list")]
    pub errors: Vec<Failure>,
}

impl Transaction {
    /// The keys in the results.
    pub fn keys(self) -> impl Iterator<Item = KeyValue> {
        self.results.into_iter().filter_map(|outcome| outcome.kv)
    }
}

/// Response to the creation of a session.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Session {
    /// Identifier.
    #[serde(rename = "ID")]
    pub id: String,
}

/// An operation of a transaction on a full key.
pub fn operation(verb: &str, key: &str, fields: Value) -> Value {
    let mut operation = json!({ "Verb": verb, "Key": key });
    if let (Some(all), Value::Object(fields)) = (operation.as_object_mut(), fields) {
        all.extend(fields);
    }
    json!({ "KV": operation })
}

/// A value in an operation.
pub fn encoded(value: &[u8]) -> String {
    STANDARD.encode(value)
}

/// The full key of a key of the store.
pub fn full(key: &str) -> String {
    format!("{KEYS}{key}")
}

/// The key of the store with this full key.
pub fn short(key: &str) -> Option<&str> {
    key.strip_prefix(KEYS)
}

/// The path of a full key, or of a prefix.
pub fn path(key: &str) -> String {
    let mut path = "/v1/kv/".to_owned();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push_str(&format!("%{byte:02X}"));
        }
    }
    path
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    STANDARD.decode(text).map_err(D::Error::custom)
}

/// A list that may be `null`.
fn list<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn changes_name_each_key_once_in_the_order_of_its_last_change() {
        let changes = Changes::default().with(keys(&["a", "b", "a", "c"]).iter());
        assert_eq!(changes.count, 4);
        assert_eq!(changes.since(0).unwrap(), ["b", "a", "c"]);
        assert_eq!(changes.since(3).unwrap(), ["c"]);
        assert_eq!(changes.since(4).unwrap(), [""; 0]);
        assert_eq!(changes.since(5), None, "the store was reset");
    }

    #[test]
    fn changes_that_are_not_kept_are_reported() {
        let mut changes = Changes::default();
        for round in 0..KEPT {
            changes = changes.with(keys(&["a", &format!("k{round}")]).iter());
        }
        assert_eq!(changes.keys.len(), KEPT);
        let oldest = changes.count - KEPT as u64;
        assert!(changes.since(oldest).is_some());
        assert_eq!(changes.since(oldest - 1), None);
    }

    #[test]
    fn path_is_encoded() {
        assert_eq!(path("a/b c?ü"), "/v1/kv/a/b%20c%3F%C3%BC");
    }
}
