//! Programs, maps and pins. The only module that uses aya.
//!
//! ```text
//! object ─► load ─► programs ─► attach ─► links   pinned: packets are forwarded without the daemon
//!             └───► tables   typed maps           pinned: flows persist without the daemon
//!                     └────► sweep, read, run
//! ```

pub mod attach;
mod batch;
mod error;
mod load;
mod object;
pub mod pins;
pub mod probe;
mod programs;
mod publish;
pub mod read;
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
pub use sys::now;
