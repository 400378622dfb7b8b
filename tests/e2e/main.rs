//! The daemon in network namespaces, with clients and servers.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod adopt;
mod allow;
mod class1_bind;
mod class1_devices;
mod class1_interfaces;
mod class1_ports;
mod class1_prefixes;
mod class2_inside;
mod class3_routes;
mod class4_deny;
mod class4_doctor;
mod class4_forwarding;
mod class4_rate;
mod class4_stack_functions;
mod class4_xdp;
mod class5_fairness;
mod class5_resolver;
mod dump;
mod filters;
mod isolation;
mod origins;
mod outbound;
mod overlay;
mod quota;
mod ranges;
mod redis;
mod transfer;
mod web;
