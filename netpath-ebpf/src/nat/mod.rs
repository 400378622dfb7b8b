//! Which translation a new flow gets.

pub mod ports;
pub mod publish;
pub mod source;
