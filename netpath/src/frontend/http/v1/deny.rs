//! The deny list of the node.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// An entry of the deny list: `GET /v1/deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Denial {
    /// The prefix.
    pub cidr: IpNet,
    /// Seconds until it expires; `null` for never.
    pub expires_s: Option<u64>,
    /// Whether it comes from the settings file, and cannot be removed by a request.
    pub configured: bool,
}

/// Adds prefixes to the deny list, all or none: `POST /v1/deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deny {
    /// Prefixes or addresses.
    pub cidrs: Vec<String>,
    /// Seconds until they expire; `null` for never.
    #[serde(default)]
    pub for_s: Option<u64>,
}

/// Removes prefixes from the deny list, all or none: `DELETE /v1/deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyRemove {
    /// Prefixes or addresses.
    pub cidrs: Vec<String>,
}
