//! The release gates for a container host, each named after its rows of requirements: what RFC 4787 (U), 5382 (T), 5508
//! (I), 7857 (P), 6888 (C), 3022 and 6056 (N, R), 4890 (V6) and 1812 (G) ask of a translator, and what a container host
//! must do beside that (H). Each runs in both families, with the kernel's default offloads and with all of them off.
#![expect(
    clippy::expect_used,
    reason = "what tests share fails as they do, by panicking with what was expected"
)]

#[macro_use]
mod gate;
mod flow;
#[path = "../e2e/peer.rs"]
mod peer;
#[path = "../e2e/stage.rs"]
mod stage;
#[path = "../e2e/town.rs"]
mod town;
mod wire;

mod checksums;
mod datagrams;
mod direct;
mod isolation;
mod mtu;
mod origins;
mod ports;
mod spoof;
mod streams;

gate! {
    gate_01_n1_checksums: crate::checksums::arithmetic;
    gate_02_n7_offloads: crate::streams::pass;
    gate_04_h1_every_origin: crate::origins::all;
    gate_10_r2_r3_ports_of_others: crate::ports::clashes;
    gate_11_g3_no_private_source_leaves: crate::spoof::sources;
    gate_12_h4_loopback_published_and_direct_routing: crate::direct::ways_around;
    gate_13_h6_network_isolation: crate::isolation::networks;
    gate_16_u9_t8_hairpin: crate::origins::hairpin;
    gate_18_u13_too_big: crate::mtu::sizes;
    gate_19_n2_no_udp_checksum: crate::checksums::zero;
    gate_30_h2_client_address: crate::origins::client_address;
    gate_31_h5_precedence: crate::origins::precedence;
}
