//! Front ends. Each translates the requests of one protocol to [`crate::commands`], and the results back.
//! Another front end is another module here; [`crate::daemon`] starts it.

pub mod http;
