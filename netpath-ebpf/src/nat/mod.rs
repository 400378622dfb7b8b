//! The translation of a new flow.
//!
//! | file | chooses |
//! |---|---|
//! | `publish` | the endpoint and port of a published port |
//! | `masquerade` | the source address of an outbound flow |
//! | `source_port` | the external source port |

pub mod masquerade;
pub mod publish;
pub mod source_port;
