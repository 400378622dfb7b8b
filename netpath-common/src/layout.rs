//! Proofs, at compile time, that every type of the map schema has the size and offsets the kernel side was built for
//! and no implicit padding.

use core::mem::{align_of, offset_of, size_of};

use crate::{
    addr::{Addr, Be16, MacAddr},
    flow::{FlowKey, Half, Timers},
    maps::{
        Address, AllowKey, Config, Count, Device, Endpoint, FragmentKey, Fragmented, HELD_BYTES,
        Held, Network, ORPHAN_PLACES, Orphan, Port, PortKey, Prefix, SocketAddr, SocketPeer,
        Subnet, SweepRecord, Text, Usage,
    },
};

macro_rules! layout {
    ($type:ty { $($field:ident: $field_type:ty),+ $(,)? } = $size:literal) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            // The sum of the fields equals the whole: nothing lies between or behind them.
            assert!($(size_of::<$field_type>() +)+ 0 == $size);
            let mut end = 0;
            $(
                assert!(offset_of!($type, $field) == end);
                end += size_of::<$field_type>();
            )+
            assert!(end == $size);
        };
    };
}

const _: () = assert!(size_of::<Addr>() == 16 && align_of::<Addr>() == 8);

layout!(
    FlowKey {
        src: Addr,
        dst: Addr,
        sport: Be16,
        dport: Be16,
        protocol: u8,
        pad: u8,
        pad2: u16
    } = 40
);
layout!(
    Half {
        to: FlowKey,
        last_seen: u64,
        created: u64,
        packets: u64,
        bytes: u64,
        endpoint: u32,
        generation: u32,
        kind: u8,
        role: u8,
        seen: u8,
        flags: u8,
        pad: u32,
    } = 88
);
layout!(
    Timers {
        tcp_syn_sent: u64,
        tcp_syn_received: u64,
        tcp_established: u64,
        tcp_half_closed: u64,
        tcp_closing: u64,
        tcp_refused: u64,
        tcp_reset: u64,
        udp_new: u64,
        udp_established: u64,
        icmp: u64,
        other: u64,
        fragment: u64,
    } = 96
);
layout!(
    Config {
        netns_cookie: u64,
        secret: u64,
        fragment_key: u64,
        timers: Timers,
        exact_levels: u32,
        family_levels: u32,
        any_levels: u32,
        half_open_mask: u32,
        flow_index_mask: u32,
        route_flags: u32,
        source_flags: u32,
        checksum_v6_flag: u32,
        snat_first: u16,
        snat_last: u16,
        flows_per_sandbox: u32,
        swept: u64,
    } = 168
);
layout!(
    Device {
        role: u32,
        index: u32,
        mtu: u32,
        pad: u32,
        v4: Addr,
        v6: Addr
    } = 48
);
layout!(
    Endpoint {
        ifindex: u32,
        generation: u32,
        network: u32,
        flags: u32,
        bridge: u32,
        mtu: u32,
        mac: MacAddr,
        gateway_mac: MacAddr,
        pad: u32,
        v4: Addr,
        v6: Addr,
        gateway_v4: Addr,
        gateway_v6: Addr,
        sandbox: Text,
    } = 168
);
layout!(
    Network {
        flags: u32,
        bridge: u32,
        name: Text
    } = 72
);
layout!(
    Address {
        kind: u32,
        slot: u32
    } = 8
);
layout!(
    Prefix {
        length: u32,
        address: [u8; 16]
    } = 20
);
layout!(
    Subnet {
        network: u32,
        flags: u32
    } = 8
);
layout!(
    PortKey {
        addr: Addr,
        block: u16,
        level: u8,
        protocol: u8,
        pad: u32
    } = 24
);
layout!(
    Port {
        first: u16,
        last: u16,
        target: u16,
        pad: u16,
        endpoint: u32,
        generation: u32,
        allow: u32
    } = 20
);
layout!(
    AllowKey {
        length: u32,
        list: u32,
        address: [u8; 16]
    } = 24
);
layout!(
    Count {
        packets: u64,
        bytes: u64
    } = 16
);
layout!(
    Usage {
        flows: i32,
        generation: u32,
        reclaimed: u32,
        pad: u32
    } = 16
);
layout!(
    SocketPeer {
        cookie: u64,
        addr: Addr,
        port: Be16,
        pad: [u16; 3]
    } = 32
);
layout!(
    SocketAddr {
        addr: Addr,
        port: Be16,
        pad: [u16; 3]
    } = 24
);
layout!(
    SweepRecord {
        key: FlowKey,
        last_seen: u64,
        twin_last_seen: u64
    } = 56
);
layout!(
    FragmentKey {
        src: Addr,
        dst: Addr,
        id: u32,
        protocol: u8,
        side: u8,
        pad2: u16
    } = 40
);
layout!(
    Fragmented {
        to: FlowKey,
        last_seen: u64,
        bytes: u32,
        total: u32,
        id: u32,
        endpoint: u32,
        generation: u32,
        flags: u8,
        pad: u8,
        pad2: u16
    } = 72
);
layout!(
    Orphan {
        first_seen: u64,
        count: u32,
        pad: u32,
        turns: [u32; ORPHAN_PLACES]
    } = 208
);
layout!(
    Held {
        key: FragmentKey,
        held: u64,
        turn: u32,
        length: u32,
        bytes: [u8; HELD_BYTES]
    } = 9_288
);
