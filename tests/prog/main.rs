//! The BPF programs by test run, where a table of cases (`prog_cases`) does not suffice. Needs root.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod budget;
mod capacity;
mod class5_fairness;
mod fuzz;
mod host_connection;
mod identification;
mod limits;
mod mark;
mod overlay;
mod sweep;
mod tagged;
mod time;
mod truncated;
