//! The release gates. Each is named after its rows in `nat-compliance.md`: requirements of RFC 4787 (U), 5382 (T), 5508
//! (I), 7857 (P), 6888 (C), 3022 and 6056 (N, R), 4890 (V6) and 1812 (G), and of a container host (H). Each gate runs
//! for both address families, with the kernel's default offloads and with all offloads off.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

#[macro_use]
mod gate;
mod flow;

mod checksums;
mod datagrams;
mod delivery;
mod direct;
mod echo;
mod errors;
mod fragments;
mod hops;
mod isolation;
mod mtu;
mod neighbours;
mod origins;
mod ports;
mod quotas;
mod replace;
mod reuse;
mod segments;
mod spoof;
mod streams;
mod timers;

gate! {
    gate_01_n1_checksums: crate::checksums::arithmetic;
    gate_02_n7_offloads: crate::streams::pass;
    gate_03_u3_t7_flows_are_not_mixed: crate::delivery::flows_are_not_mixed;
    gate_04_h1_published_port_from_every_origin: crate::origins::all;
    gate_05_c11d_established_flows_survive: crate::delivery::established_flows_survive;
    gate_06_t2_tcp_segment_sequences: crate::segments::sequences;
    gate_07_i4_inbound_icmp_errors: crate::errors::inbound;
    gate_08_t9_m1_path_mtu: crate::hops::path_mtu;
    gate_09_h3_udp_reaches_the_current_sandbox: crate::replace::datagrams;
    gate_10_r2_r3_used_ports_are_not_chosen: crate::ports::used_ports;
    gate_11_g3_no_private_source_leaves: crate::spoof::sources;
    gate_12_h4_loopback_ports_and_direct_routing_are_blocked: crate::direct::direct_access;
    gate_13_h6_networks_are_isolated: crate::isolation::networks;
    gate_14_u8_t3_filtering: crate::delivery::filtering;
    gate_15_t13_reload_keeps_flows: crate::reuse::reload;
    gate_16_u9_t8_hairpin: crate::origins::hairpin;
    gate_17_u14_fragments_in_any_order: crate::fragments::pass;
    gate_18_u13_packet_too_big: crate::mtu::sizes;
    gate_19_n2_absent_udp_checksum: crate::checksums::zero;
    gate_20_i5_port_unreachable_from_published_port: crate::errors::unreachable_from_published;
    gate_21_u5_u6_udp_timers: crate::timers::udp;
    gate_22_t5_tcp_timers: crate::timers::tcp;
    gate_23_t12_tuples_are_reused: crate::reuse::tuples;
    gate_24_p3_tcp_resets: crate::segments::resets;
    gate_25_u12_t10_icmp_errors_keep_flows: crate::errors::keep_the_flow;
    gate_26_i1_echo_identifiers: crate::echo::identifiers;
    gate_27_i3b_i3c_quoted_packets: crate::errors::quotations;
    gate_28_i7_hairpin_icmp_errors: crate::errors::hairpinned;
    gate_29_h8_concurrent_first_packets: crate::delivery::first_packets;
    gate_30_h2_client_address: crate::origins::client_address;
    gate_31_h5_precedence_of_published_ports: crate::origins::precedence;
    gate_32_h7_teardown_leaves_nothing: crate::replace::cleanup;
    gate_33_c4_c5_flow_quotas: crate::quotas::flows;
    gate_34_u14a_fragment_flood: crate::fragments::flood;
    gate_35_v6_3_v6_4_icmpv6_errors_and_neighbour_discovery: crate::neighbours::control;
    gate_40_g1_g2_ttl_and_malformed_packets: crate::hops::limits;
}
