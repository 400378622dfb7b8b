//! Messages of etcd's JSON gateway. Keys and values are in base64, numbers are texts; fields with default values are
//! missing.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Deserializer, Serialize, de::Error};
use serde_json::{Value, json};

use crate::store::remote::KEYS;

/// Header of a response.
#[derive(Debug, Default, Deserialize)]
pub struct Header {
    /// Revision of the store.
    #[serde(default, deserialize_with = "number")]
    pub revision: u64,
}

/// A key with its value.
#[derive(Debug, Default, Deserialize)]
pub struct KeyValue {
    /// Full key.
    #[serde(deserialize_with = "text")]
    pub key: String,
    /// Value.
    #[serde(default, deserialize_with = "bytes")]
    pub value: Vec<u8>,
    /// Commit that wrote it.
    #[serde(default, deserialize_with = "number")]
    pub mod_revision: u64,
}

/// Response to `range`.
#[derive(Debug, Default, Deserialize)]
pub struct Range {
    /// Header.
    #[serde(default)]
    pub header: Header,
    /// Entries, sorted by key.
    #[serde(default)]
    pub kvs: Vec<KeyValue>,
}

/// Response to one operation of a transaction.
#[derive(Debug, Default, Deserialize)]
pub struct Operation {
    /// Entries, if it was a range.
    #[serde(default)]
    pub response_range: Option<Range>,
}

/// Response to a transaction.
#[derive(Debug, Default, Deserialize)]
pub struct Transaction {
    /// Header.
    #[serde(default)]
    pub header: Header,
    /// Whether the comparisons held.
    #[serde(default)]
    pub succeeded: bool,
    /// Responses to the operations of the branch that was executed.
    #[serde(default)]
    pub responses: Vec<Operation>,
}

impl Transaction {
    /// The entries that the ranges of the transaction have found, one list for each.
    pub fn ranges(self) -> impl Iterator<Item = Vec<KeyValue>> {
        let ranges = self.responses.into_iter();
        ranges.map(|operation| operation.response_range.unwrap_or_default().kvs)
    }
}

/// A message of a stream.
#[derive(Debug, Deserialize)]
pub struct Message<T> {
    /// Content.
    pub result: Option<T>,
    /// Why the stream has ended.
    #[serde(default)]
    pub error: Option<Failure>,
}

/// A response of a watch.
#[derive(Debug, Default, Deserialize)]
pub struct Watched {
    /// Header.
    #[serde(default)]
    pub header: Header,
    /// Whether the watch was created.
    #[serde(default)]
    pub created: bool,
    /// Whether the watch has ended.
    #[serde(default)]
    pub canceled: bool,
    /// First revision that is not compacted, if the watch ended because its revision is.
    #[serde(default, deserialize_with = "number")]
    pub compact_revision: u64,
    /// Changes.
    #[serde(default)]
    pub events: Vec<Change>,
}

/// A change of a key.
#[derive(Debug, Deserialize)]
pub struct Change {
    /// `DELETE`; missing if the key was written.
    #[serde(default, rename = "type")]
    pub kind: String,
    /// The key; without a value if it was deleted.
    pub kv: KeyValue,
}

/// Response to `lease/grant` and `lease/keepalive`.
#[derive(Debug, Default, Deserialize)]
pub struct Grant {
    /// Identifier.
    #[serde(default, rename = "ID", deserialize_with = "number")]
    pub id: u64,
    /// Seconds until it expires; 0 if it has expired.
    #[serde(default, rename = "TTL", deserialize_with = "number")]
    pub ttl: u64,
}

/// Response to `auth/authenticate`.
#[derive(Debug, Deserialize)]
pub struct Authenticated {
    /// Token for other calls.
    pub token: String,
}

/// An error.
#[derive(Debug, Default, Deserialize)]
pub struct Failure {
    /// Code of gRPC; in errors of streams `grpc_code`.
    #[serde(default, alias = "grpc_code")]
    pub code: u32,
    /// Text.
    #[serde(default)]
    pub message: String,
    /// Text, in older versions.
    #[serde(default)]
    pub error: String,
}

/// A full key or the end of a range in the form of the gateway.
pub fn encoded(key: &str) -> String {
    STANDARD.encode(key)
}

/// The full key of a key of the store.
pub fn full(key: &str) -> String {
    format!("{KEYS}{key}")
}

/// The operation that reads a key of the store.
pub fn read(key: &str) -> Value {
    json!({ "request_range": { "key": encoded(&full(key)) } })
}

/// A range from a full key to another, which is not included.
pub fn between(first: &str, end: &str) -> Value {
    json!({ "key": encoded(first), "range_end": encoded(end) })
}

/// The range of the full keys with a prefix. `prefix` ends with an ASCII character, or is shorter than the root.
pub fn with_prefix(prefix: &str) -> Value {
    let mut end = prefix.as_bytes().to_vec();
    // No byte of UTF-8 is 0xff.
    if let Some(last) = end.last_mut() {
        *last += 1;
    }
    json!({ "key": encoded(prefix), "range_end": STANDARD.encode(end) })
}

/// A body.
pub fn body(value: &impl Serialize) -> Vec<u8> {
    // Maps with text keys can always be written.
    serde_json::to_vec(value).unwrap_or_default()
}

/// A value in the form of the gateway.
pub fn encoded_value(value: &[u8]) -> String {
    STANDARD.encode(value)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => text.parse().map_err(D::Error::custom),
        Value::Number(number) => number
            .as_u64()
            .ok_or_else(|| D::Error::custom("a number is negative")),
        _ => Err(D::Error::custom("a number is missing")),
    }
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = String::deserialize(deserializer)?;
    STANDARD.decode(text).map_err(D::Error::custom)
}

fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    String::from_utf8(bytes(deserializer)?).map_err(D::Error::custom)
}
