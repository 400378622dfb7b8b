//! The packet path on plain collections instead of maps.

mod interfaces;
mod routes;

use std::{mem, net::IpAddr};

use netpath_common::{
    addr::{Addr, Be16, MacAddr},
    flow::{FlowKey, TCP, Timers},
    hook::{Hook, LinkHeader},
    maps::{
        AddressOwner, AddressRecord, Config, Device, Endpoint, ICC_OFF, INTERNAL, MASQUERADE,
        Network, NextHop, PortKey, PublishedRange, Role, Subnet, Usage,
    },
    reason::Reason,
};

use super::{
    destination::{Destination, Subnets, classify},
    endpoint, uplink,
};
use crate::{
    conntrack::Entry,
    context::Context,
    helpers::{
        Lookup, Route, Socket,
        host::{Kernel, with_kernel},
    },
    maps,
    packet::skb::Skb,
    parse::{ACK, SYN},
    sample::{Kind, Sample},
};

const UPLINK: u32 = 2;
/// A route through a router at the uplink, without a preferred source address.
const ROUTE: Route = Route {
    hop: NextHop {
        ifindex: UPLINK,
        family: 2,
        address: [7, 0, 0, 0],
    },
    mtu: 1_500,
    source: Addr::UNSPECIFIED,
};
const BRIDGE: u32 = 3;
const GATEWAY_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xfe]);

const HOST: &str = "192.0.2.1";
const GATEWAY: &str = "10.1.0.254";
const CLIENT: &str = "198.51.100.7";

fn addr(text: &str) -> Addr {
    Addr::from(text.parse::<IpAddr>().expect("an address"))
}

/// The interface of the endpoint in a slot, its MAC address and its address.
fn sandbox(slot: u32) -> (u32, MacAddr, Addr) {
    let last = slot as u8;
    let octets = [10, 1, slot as u8 / 10, last];
    (
        10 + slot,
        MacAddr([2, 0, 0, 0, 0, last]),
        Addr::from_raw_v4(u32::from_ne_bytes(octets)),
    )
}

/// A node with an uplink and endpoints: 1 and 2 in one network, 11 in another.
fn node(flags: u32) {
    let config = Config {
        netns_cookie: 1,
        secret: 2,
        fragment_key: 3,
        timers: Timers::DEFAULT,
        exact_levels: 0,
        family_levels: 0,
        any_levels: 1,
        own_exact_levels: 0,
        own_family_levels: 0,
        own_any_levels: 1,
        half_open_mask: 15,
        flow_index_mask: 15,
        route_flags: 0,
        source_flags: 0,
        checksum_v6_flag: 0,
        flows_per_sandbox: 8,
        half_open_limit: 16,
        fair_share: 8,
        routes_changed: 0,
        swept: 1,
        denied: 0,
        tunnel_port: 0,
        underlay_v4: Addr::UNSPECIFIED,
        underlay_v6: Addr::UNSPECIFIED,
    };
    maps::CONFIG.set(0, config);
    let uplink = Device {
        role: Role::Uplink as u32,
        mtu: 1_500,
        v4: addr(HOST),
        ..Device::default()
    };
    maps::DEVICES.insert(&UPLINK, &uplink, 0).expect("room");
    for slot in [1, 2, 11] {
        put_endpoint(slot, flags);
    }
    for (text, owner) in [(HOST, AddressOwner::Host), (GATEWAY, AddressOwner::Gateway)] {
        let record = AddressRecord::new(owner);
        maps::ADDRESSES
            .insert(&addr(text), &record, 0)
            .expect("room");
    }
    let network = Network {
        flags,
        ..Network::default()
    };
    maps::NETWORKS.insert(&1, &network, 0).expect("room");
    let subnet = Subnet {
        network: 1,
        flags,
        broadcast: addr("10.1.255.255").raw_v4(),
        pad: 0,
    };
    maps::SUBNETS.add(96 + 16, addr("10.1.0.0").octets(), subnet);
    with_kernel(|kernel| {
        *kernel = Kernel {
            now: 1_000_000_000,
            lookup: Lookup::Found,
            route: ROUTE,
            ..Kernel::default()
        };
    });
}

fn put_endpoint(slot: u32, flags: u32) {
    let (ifindex, mac, v4) = sandbox(slot);
    let endpoint = Endpoint {
        ifindex,
        generation: 1,
        network: 1 + slot / 10,
        flags,
        bridge: BRIDGE,
        mtu: 1_500,
        mac,
        gateway_mac: GATEWAY_MAC,
        v4,
        gateway_v4: addr(GATEWAY),
        ..Endpoint::default()
    };
    maps::ENDPOINTS.set(slot, endpoint);
    let usage = Usage {
        generation: 1,
        ..Usage::default()
    };
    maps::USAGE.set(slot, usage);
    let device = Device {
        role: Role::Endpoint as u32,
        index: slot,
        mtu: 1_500,
        ..Device::default()
    };
    maps::DEVICES.insert(&ifindex, &device, 0).expect("room");
    let record = AddressRecord::new(AddressOwner::Endpoint(slot));
    maps::ADDRESSES.insert(&v4, &record, 0).expect("room");
}

/// Publishes a TCP port of the endpoint in a slot on every address of the node.
fn publish(port: u16, slot: u32, inner: u16) {
    let key = PortKey::of_range(PortKey::ANY, TCP, port, port);
    let range = PublishedRange {
        first: port,
        last: port,
        port: inner,
        flags: 0,
        endpoint: slot,
        generation: 1,
        allow: 0,
    };
    maps::PORTS.insert(&key, &range, 0).expect("room");
}

fn segment(src: Addr, dst: Addr, ports: (u16, u16), flags: u8) -> Sample {
    Sample {
        src,
        dst,
        sport: ports.0,
        dport: ports.1,
        kind: Kind::Tcp(flags),
        ttl: 64,
        options: Vec::new(),
        extensions: Vec::new(),
        payload: Vec::new(),
        error: Some(0),
    }
}

/// A packet from outside as the sandbox in slot 1 receives it: routed once, with the addresses of their link.
fn routed_to_sandbox(packet: Sample) -> Vec<u8> {
    let mut frame = Sample {
        ttl: packet.ttl - 1,
        ..packet
    }
    .build();
    frame[..6].copy_from_slice(&sandbox(1).1.0);
    frame[6..12].copy_from_slice(&GATEWAY_MAC.0);
    frame
}

/// The packet of a sandbox, addressed to its gateway.
fn from_sandbox(slot: u32, packet: &Sample) -> Skb {
    let (ifindex, mac, _) = sandbox(slot);
    let mut bytes = packet.build();
    bytes[..6].copy_from_slice(&GATEWAY_MAC.0);
    bytes[6..12].copy_from_slice(&mac.0);
    Skb {
        bytes,
        ifindex,
        ingress_ifindex: ifindex,
        ..Skb::default()
    }
}

fn at_uplink(packet: &Sample) -> Skb {
    Skb {
        bytes: packet.build(),
        ifindex: UPLINK,
        ingress_ifindex: UPLINK,
        ..Skb::default()
    }
}

/// The reason for a packet at a hook.
fn handle(hook: Hook, skb: &mut Skb) -> Reason {
    let mut context = Context::new(mem::take(skb)).expect("a context");
    let header = match context.skb.ethertype {
        0 => LinkHeader::Ethernet,
        _ => LinkHeader::None,
    };
    let reason = match hook {
        Hook::UplinkIngress => uplink::ingress(&mut context, header),
        Hook::UplinkEgress => uplink::egress(&mut context, header),
        Hook::EndpointIngress => endpoint::ingress(&mut context),
        Hook::EndpointEgress => endpoint::egress(&mut context),
    };
    *skb = context.skb;
    reason
}

fn send(slot: u32, dst: Addr, ports: (u16, u16), flags: u8) -> Reason {
    let packet = segment(sandbox(slot).2, dst, ports, flags);
    handle(Hook::EndpointIngress, &mut from_sandbox(slot, &packet))
}

#[test]
fn destination_is_classified_by_owner_and_subnet() {
    node(MASQUERADE);
    let cases = [
        (sandbox(2).2, Destination::Sandbox(2)),
        (addr(HOST), Destination::Host),
        (addr(GATEWAY), Destination::Gateway),
        (addr("10.1.9.9"), Destination::Subnet),
        (addr("224.0.0.1"), Destination::Link),
        (addr("fe80::1"), Destination::Link),
        (addr(CLIENT), Destination::Outside),
    ];
    for (address, expected) in cases {
        assert_eq!(classify(address, Subnets::LookUp), expected, "{address}");
    }
    let unowned = classify(addr("10.1.9.9"), Subnets::Ignore);
    assert_eq!(unowned, Destination::Outside);
}

#[test]
fn sandbox_reaches_sandbox_of_same_network_only() {
    node(MASQUERADE);
    assert_eq!(send(1, sandbox(2).2, (1, 80), SYN), Reason::Sibling);
    assert_eq!(with_kernel(|kernel| kernel.redirects.clone()), [12]);
    assert_eq!(send(1, sandbox(11).2, (1, 80), SYN), Reason::Isolated);
    assert_eq!(send(1, addr(HOST), (1, 80), SYN), Reason::ToHost);
    assert_eq!(send(1, addr(CLIENT), (1, 80), SYN), Reason::Outbound);
    with_kernel(|kernel| {
        let [hop] = kernel.neighbours[..] else {
            panic!("one packet was forwarded");
        };
        assert_eq!(hop, ROUTE.hop);
        let [(key, source, device, flags)] = kernel.route_lookups[..] else {
            panic!("one route lookup is expected");
        };
        let expected = (addr(CLIENT), sandbox(1).2, BRIDGE, 0);
        assert_eq!((key.dst, source, device, flags), expected);
    });
}

#[test]
fn result_of_route_lookup_selects_reason() {
    node(MASQUERADE);
    let elsewhere = Route {
        hop: NextHop {
            ifindex: BRIDGE,
            ..ROUTE.hop
        },
        ..ROUTE
    };
    let cases = [
        (Lookup::Found, ROUTE, Reason::Outbound),
        (Lookup::TooBig, ROUTE, Reason::TooBig),
        (Lookup::Unreachable, ROUTE, Reason::Unreachable),
        (Lookup::Local, ROUTE, Reason::ToHost),
        (Lookup::Failed, ROUTE, Reason::NoRoute),
        (Lookup::Found, elsewhere, Reason::NoUplink),
    ];
    for (port, (lookup, route, reason)) in (1..).zip(cases) {
        with_kernel(|kernel| (kernel.lookup, kernel.route) = (lookup, route));
        assert_eq!(send(1, addr(CLIENT), (port, 80), SYN), reason);
    }
}

#[test]
fn icc_off_isolates_sandboxes_of_one_network() {
    node(MASQUERADE | ICC_OFF);
    assert_eq!(send(1, sandbox(2).2, (1, 80), SYN), Reason::IccOff);
}

#[test]
fn internal_network_has_no_external_access() {
    node(INTERNAL);
    assert_eq!(send(1, addr(CLIENT), (1, 80), SYN), Reason::InternalNetwork);
}

#[test]
fn foreign_source_is_dropped_as_spoofed() {
    node(MASQUERADE);
    let packet = segment(sandbox(2).2, addr(CLIENT), (1, 80), SYN);
    let reason = handle(Hook::EndpointIngress, &mut from_sandbox(1, &packet));
    assert_eq!(reason, Reason::Spoofed);
}

#[test]
fn outbound_flow_is_masqueraded_and_its_reply_delivered() {
    node(MASQUERADE);
    let out = segment(sandbox(1).2, addr(CLIENT), (40_000, 80), SYN);
    let mut skb = at_uplink(&out);
    assert_eq!(handle(Hook::UplinkEgress, &mut skb), Reason::Translated);
    let translated = segment(addr(HOST), addr(CLIENT), (40_000, 80), SYN);
    assert_eq!(skb.bytes, translated.build());

    let reply = segment(addr(CLIENT), addr(HOST), (80, 40_000), SYN | ACK);
    let mut skb = at_uplink(&reply);
    assert_eq!(handle(Hook::UplinkIngress, &mut skb), Reason::Inbound);
    let delivered = segment(addr(CLIENT), sandbox(1).2, (80, 40_000), SYN | ACK);
    assert_eq!(skb.bytes, routed_to_sandbox(delivered));
}

#[test]
fn source_port_of_host_socket_is_not_used() {
    node(MASQUERADE);
    let reply = FlowKey {
        src: addr(CLIENT),
        dst: addr(HOST),
        sport: Be16::new(80),
        dport: Be16::new(40_000),
        protocol: TCP,
        pad: 0,
        pad2: 0,
    };
    for socket in [Socket::Connected, Socket::Unconnected] {
        with_kernel(|kernel| kernel.sockets = vec![(reply, socket)]);
        let out = segment(sandbox(1).2, addr(CLIENT), (40_000, 80), SYN);
        let mut skb = at_uplink(&out);
        assert_eq!(handle(Hook::UplinkEgress, &mut skb), Reason::Translated);
        assert!(Entry::find(&reply).is_none());
    }
}

#[test]
fn published_port_is_reachable_from_outside_and_from_sandboxes() {
    node(MASQUERADE);
    publish(8_080, 2, 80);
    let from_outside = segment(addr(CLIENT), addr(HOST), (50_000, 8_080), SYN);
    let reason = handle(Hook::UplinkIngress, &mut at_uplink(&from_outside));
    assert_eq!(reason, Reason::Inbound);
    assert_eq!(send(1, addr(HOST), (50_000, 8_080), SYN), Reason::Hairpin);
    assert_eq!(send(2, addr(HOST), (50_000, 8_080), SYN), Reason::Hairpin);
    let direct = segment(addr(CLIENT), sandbox(2).2, (50_000, 80), SYN);
    let reason = handle(Hook::UplinkIngress, &mut at_uplink(&direct));
    assert_eq!(reason, Reason::DirectAccess);
}

#[test]
fn flows_beyond_sandbox_limit_are_refused() {
    node(MASQUERADE);
    let open = |port| {
        let out = segment(sandbox(1).2, addr(CLIENT), (port, 80), SYN);
        let opened = handle(Hook::UplinkEgress, &mut at_uplink(&out));
        // A whole handshake, so that the flow is not half-open.
        for (hook, packet) in [
            (
                Hook::UplinkIngress,
                segment(addr(CLIENT), addr(HOST), (80, port), SYN | ACK),
            ),
            (
                Hook::UplinkEgress,
                segment(sandbox(1).2, addr(CLIENT), (port, 80), ACK),
            ),
        ] {
            handle(hook, &mut at_uplink(&packet));
        }
        opened
    };
    for port in 0..8 {
        assert_eq!(open(40_000 + port), Reason::Translated);
    }
    assert_eq!(open(40_008), Reason::Quota);
}
