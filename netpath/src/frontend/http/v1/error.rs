//! Errors.

use serde::{Deserialize, Serialize};

/// The body of every answer that is not a success.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs: `invalid`, `not_found`, `conflict`, `unavailable` or `internal`.
    pub code: String,
    /// For people: which object, and why.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}
