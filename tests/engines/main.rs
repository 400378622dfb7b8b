//! Real container engines with netpath beside them, each in mount, PID and network namespaces of its own.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod docker_lifecycle;
mod docker_networks;
mod docker_ports;
mod engine;
