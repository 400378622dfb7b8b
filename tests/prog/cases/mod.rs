//! The cases by subject, each for both families where both have it.

mod conntrack;
mod errors;
mod fragments;
mod guard;
mod inside;
mod malformed;
mod outbound;
mod published;
mod refused;
mod states;
mod translation;

use std::net::{IpAddr, SocketAddr};

use netpath_tests::{
    packet::Packet,
    prog::{MAC_OUTSIDE, MAC_UPLINK, Setup, Side, gateway_mac, sandbox_mac},
};

use crate::case::{Case, run_all};

macro_rules! tables {
    ($($subject:ident),+ $(,)?) => {
        /// Every table.
        pub fn tables() -> Vec<Vec<Case>> {
            vec![$($subject::cases()),+]
        }

        $(
            #[test]
            fn $subject() {
                run_all(Setup::default(), &$subject::cases());
            }
        )+
    };
}

tables!(
    conntrack,
    errors,
    fragments,
    guard,
    inside,
    malformed,
    outbound,
    published,
    refused,
    states,
    translation,
);

/// Every case of every table.
pub fn all() -> Vec<Case> {
    tables().into_iter().flatten().collect()
}

/// The cases of both families, with the family in their names.
fn both(cases: impl Fn(Side) -> Vec<Case>) -> Vec<Case> {
    Side::BOTH.into_iter().flat_map(cases).collect()
}

/// A case of one family.
fn case(side: Side, name: &str) -> Case {
    Case::new(format!("{:?}: {name}", side.0))
}

/// From the client outside, as it comes in at `eth0`.
fn inbound(side: Side, to: IpAddr) -> Packet {
    Packet::ip(side.client(), to).eth(MAC_OUTSIDE, MAC_UPLINK)
}

/// From a sandbox, as it comes out of there.
fn from_sandbox(side: Side, slot: u32, to: IpAddr) -> Packet {
    Packet::ip(side.sandbox(slot), to).eth(sandbox_mac(slot), gateway_mac(slot))
}

/// The same one hop later, as it leaves by `eth0`.
fn leaving(side: Side, slot: u32, to: IpAddr) -> Packet {
    from_sandbox(side, slot, to)
        .eth(MAC_UPLINK, MAC_OUTSIDE)
        .routed()
}

/// A packet as its gateway gives it to a sandbox.
fn delivered(packet: Packet, slot: u32) -> Packet {
    packet.routed().eth(gateway_mac(slot), sandbox_mac(slot))
}

/// A tuple as flows are shown with.
fn tuple(src: IpAddr, sport: u16, dst: IpAddr, dport: u16) -> String {
    let end = |ip, port| SocketAddr::new(ip, port);
    format!("{} > {}", end(src, sport), end(dst, dport))
}

/// A tuple whose source port is not known.
fn tuple_from_any(src: IpAddr, dst: IpAddr, dport: u16) -> String {
    let src = SocketAddr::new(src, 0).to_string();
    format!(
        "{}:* > {}",
        src.trim_end_matches(":0"),
        SocketAddr::new(dst, dport)
    )
}

fn icmp(side: Side) -> &'static str {
    if side.is_v4() { "icmp" } else { "icmpv6" }
}
