//! Failures of operations that are repeated.

use std::collections::BTreeSet;

/// Operations whose last attempt failed. A failure is logged once, until an attempt succeeds.
#[derive(Debug, Default)]
pub(super) struct Failures(BTreeSet<String>);

impl Failures {
    /// Notes that an operation failed. Returns whether its previous attempt succeeded, so that the failure is to be logged.
    pub(super) fn note_failure(&mut self, operation: &str) -> bool {
        self.0.insert(operation.to_owned())
    }

    /// Notes that an operation succeeded. Returns whether its previous attempt failed.
    pub(super) fn note_success(&mut self, operation: &str) -> bool {
        self.0.remove(operation)
    }
}
