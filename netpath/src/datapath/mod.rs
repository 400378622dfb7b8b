//! Placeholder.

pub mod dump;
