//! The translation of a new flow.
//!
//! | file | chooses |
//! |---|---|
//! | `publish` | the endpoint and port of a published port |
//! | `masquerade` | the source address of an outbound flow |
//! | `source_port` | the external source port |
//!
//! `record` records the outer tuples that belong to no flow, and `outer` looks them up.

pub mod masquerade;
pub mod outer;
pub mod publish;
pub mod record;
pub mod source_port;
