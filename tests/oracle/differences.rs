//! What netpath does otherwise than netfilter, on purpose. Everything else that differs is a defect.

use crate::compare::Difference;

/// A difference that is meant to be.
pub struct Intended {
    /// A short name.
    pub name: &'static str,
    /// The row of the requirements it follows from.
    pub row: &'static str,
    /// Why netpath differs.
    pub reason: &'static str,
    /// Whether the twins have different flows from then on, so that the rest of the flow tells nothing.
    pub diverges: bool,
    /// Whether a difference is this one.
    pub is: fn(&Difference<'_>) -> bool,
}

/// All of them.
pub const INTENDED: &[Intended] = &[];
