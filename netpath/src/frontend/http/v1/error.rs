//! Errors.

use serde::{Deserialize, Serialize};

/// The body of every response with an error status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The error.
    pub error: ErrorDetail,
}

/// The failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs: `invalid`, `not_found`, `conflict`, `unavailable` or `internal`.
    pub code: String,
    /// For people: object and cause.
    pub message: String,
    /// Advice for the user.
    pub hint: Option<String>,
}
