//! The comparison.

use super::{Desired, Observed, Operation};

/// Operations that turn what is observed into what is desired, in the order to execute them.
pub fn plan(_desired: &Desired, _observed: &Observed) -> Vec<Operation> {
    Vec::new()
}
