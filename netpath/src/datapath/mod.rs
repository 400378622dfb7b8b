//! Programs, maps and pins: the only module that uses aya.
//!
//! ```text
//! object ─► load ─► programs ─► attach ─► links   pinned: forwarding continues without the daemon
//!             └───► tables   typed maps           pinned: flows continue as well
//!                     └────► sweep, dump, run
//! ```

pub mod attach;
mod batch;
pub mod dump;
mod error;
mod load;
mod object;
pub mod pins;
pub mod probe;
mod publish;
pub mod run;
pub mod sweep;
mod sys;
pub mod tables;
#[cfg(feature = "trace")]
mod trace;
mod validity;

pub use error::DatapathError;
pub use load::{Datapath, Limits, NodeSettings};
pub use probe::Features;
