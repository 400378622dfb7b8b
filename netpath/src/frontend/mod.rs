//! Front ends. Each translates the requests of one protocol to [`crate::commands`], and the results back.

pub mod http;
