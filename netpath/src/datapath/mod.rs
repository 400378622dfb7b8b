//! Programs, maps and pins: the only module that uses aya.
//!
//! ```text
//! object ─► load ─► programs ─► attach ─► links   pinned: forwarding goes on without the daemon
//!             └───► tables   typed maps           pinned: flows survive it
//!                     └────► sweep, dump, run
//! ```

pub mod attach;
mod batch;
pub mod dump;
mod ends;
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

pub use error::DatapathError;
pub use load::{Datapath, Limits, NodeSettings};
pub use probe::Features;
