//! The BPF programs by test run, as tables: packet in; verdict, packet, counter and flows out. Needs root.
//!
//! A case is data: see [`case`]. Every case is a test of its own; the cases of a table share a node.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

/// Cases of one shape, one per line. The function creates a case from its name and the other arguments.
macro_rules! rows {
    ($case:ident; $($name:literal: $($argument:expr),+;)+) => {
        vec![$($case($name, $($argument),+)),+]
    };
}

mod case;
mod class1_ports;
mod class4;
mod conntrack;
mod coverage;
mod errors;
mod forwarded;
mod fragments;
mod guard;
mod inside;
mod limits;
mod malformed;
mod outbound;
mod overlay;
mod published;
mod rate;
mod refused;
mod states;
mod translation;

use std::{
    net::{IpAddr, SocketAddr},
    process::ExitCode,
};

use netpath_common::reason::Reason;
use netpath_tests::{
    checks,
    packet::Packet,
    prog::{
        ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, Setup, UPLINK_INGRESS, gateway_mac,
        sandbox_mac,
    },
    table,
};

use case::{Case, Send, send};

/// A name and its cases.
type Subject = (&'static str, fn() -> Vec<Case>);

/// The cases of a node with default settings, by subject.
const SUBJECTS: [Subject; 16] = [
    ("class4_stack_functions", class4::cases),
    ("class4_forwarding", forwarded::cases),
    ("class4_rate", rate::cases),
    ("class1_ports", class1_ports::cases),
    ("conntrack", conntrack::cases),
    ("errors", errors::cases),
    ("fragments", fragments::cases),
    ("guard", guard::cases),
    ("inside", inside::cases),
    ("malformed", malformed::cases),
    ("outbound", outbound::cases),
    ("overlay", overlay::cases),
    ("published", published::cases),
    ("refused", refused::cases),
    ("states", states::cases),
    ("translation", translation::cases),
];

fn main() -> ExitCode {
    let mut tables: Vec<_> = SUBJECTS
        .into_iter()
        .map(|(subject, cases)| case::table(subject, Setup::default(), cases))
        .collect();
    tables.extend(limits::tables());
    let checks = checks![
        coverage::every_reason_is_covered_by_a_case,
        coverage::names_of_cases_are_distinct_within_a_table,
    ];
    table::main(tables, checks)
}

/// The cases of both families; their names contain the family.
fn both(cases: impl Fn(Family) -> Vec<Case>) -> Vec<Case> {
    Family::BOTH.into_iter().flat_map(cases).collect()
}

/// A case of one family.
fn case(family: Family, name: &str) -> Case {
    Case::new(format!("{:?}: {name}", family))
}

/// A packet from the client outside, as `eth0` receives it.
fn inbound(family: Family, to: IpAddr) -> Packet {
    Packet::ip(family.client(), to).eth(MAC_OUTSIDE, MAC_UPLINK)
}

/// A packet from a sandbox, as its veth device receives it.
fn from_sandbox(family: Family, slot: u32, to: IpAddr) -> Packet {
    Packet::ip(family.sandbox(slot), to).eth(sandbox_mac(slot), gateway_mac(slot))
}

/// A sandbox sends a packet.
fn endpoint_sends(slot: u32, packet: &Packet) -> Send {
    send(ENDPOINT_IN, format!("ve{slot}"), packet)
}

/// A packet to a published port, which sandbox 1 must receive at `port`.
fn published_packet(family: Family, packet: &Packet, port: u16) -> Send {
    let inside = packet.clone().destination(family.sandbox(1)).dport(port);
    send(UPLINK_INGRESS, "eth0", packet)
        .is(Reason::Inbound)
        .sends(&delivered(inside, 1))
        .number_of_flows(1)
}

/// A packet from a sandbox, as `eth0` sends it before translation.
fn leaving(family: Family, slot: u32, to: IpAddr) -> Packet {
    from_sandbox(family, slot, to)
        .eth(MAC_UPLINK, MAC_OUTSIDE)
        .routed()
}

/// A packet as the gateway delivers it to a sandbox.
fn delivered(packet: Packet, slot: u32) -> Packet {
    packet.routed().eth(gateway_mac(slot), sandbox_mac(slot))
}

/// A tuple in the notation of flows.
fn tuple(src: IpAddr, sport: u16, dst: IpAddr, dport: u16) -> String {
    let end = |ip, port| SocketAddr::new(ip, port);
    format!("{} > {}", end(src, sport), end(dst, dport))
}

/// A tuple with an unknown source port, in the notation of flows.
fn tuple_from_any(src: IpAddr, dst: IpAddr, dport: u16) -> String {
    let src = SocketAddr::new(src, 0).to_string();
    format!(
        "{}:* > {}",
        src.trim_end_matches(":0"),
        SocketAddr::new(dst, dport)
    )
}

fn icmp(family: Family) -> &'static str {
    if family.is_v4() { "icmp" } else { "icmpv6" }
}
