//! Routes of packets that leave the node.

use netpath_common::{
    addr::{Addr, Be16},
    flow::{FlowKey, TCP},
    hook::Hook,
    maps::{Config, Device, MASQUERADE, Role},
    reason::Reason,
};

use super::{
    CLIENT, HOST, UPLINK, addr, at_uplink, from_sandbox, handle, node, publish, sandbox, segment,
    send,
};
use crate::{
    conntrack::Entry,
    helpers::host::with_kernel,
    maps,
    parse::{ACK, SYN},
    sample::Sample,
};

/// A flow keeps its route until it is a second old or the daemon reports a change.
#[test]
fn class3_route_of_flow_is_looked_up_after_age_limit_and_change() {
    node(MASQUERADE);
    let lookups = || with_kernel(|kernel| kernel.route_lookups.len());
    let wait = |time: u64| with_kernel(|kernel| kernel.now += time);
    let pass = || assert_eq!(send(1, addr(CLIENT), (40_000, 80), ACK), Reason::Outbound);
    assert_eq!(send(1, addr(CLIENT), (40_000, 80), SYN), Reason::Outbound);
    assert_eq!(lookups(), 1);
    wait(900_000_000);
    pass();
    assert_eq!(lookups(), 1, "the decision is kept");
    wait(200_000_000);
    pass();
    assert_eq!(lookups(), 2, "the decision is too old");
    wait(10_000_000);
    pass();
    assert_eq!(lookups(), 2);
    let config = maps::config().expect("a configuration");
    maps::CONFIG.set(
        0,
        Config {
            routes_changed: with_kernel(|kernel| kernel.now),
            ..*config
        },
    );
    wait(10_000_000);
    pass();
    assert_eq!(lookups(), 3, "the decision is older than the change");
    pass();
    assert_eq!(lookups(), 3);
}

/// A masqueraded flow whose route leads to another interface gets the source address of that interface.
#[test]
fn class3_flow_that_leaves_by_another_interface_is_recreated() {
    const OTHER: u32 = 4;
    node(MASQUERADE);
    let other = Device {
        role: Role::Uplink as u32,
        mtu: 1_500,
        v4: addr("203.0.113.1"),
        ..Device::default()
    };
    maps::DEVICES.insert(&OTHER, &other, 0).expect("room");
    assert_eq!(send(1, addr(CLIENT), (40_000, 80), SYN), Reason::Outbound);
    let source = || {
        let key = FlowKey {
            src: sandbox(1).2,
            dst: addr(CLIENT),
            sport: Be16::new(40_000),
            dport: Be16::new(80),
            protocol: TCP,
            pad: 0,
            pad2: 0,
        };
        Entry::find(&key).expect("a flow").to().src
    };
    assert_eq!(source(), addr(HOST));
    with_kernel(|kernel| {
        kernel.now += 2_000_000_000;
        kernel.route.source = addr("192.0.2.9");
    });
    assert_eq!(send(1, addr(CLIENT), (40_000, 80), ACK), Reason::Outbound);
    assert_eq!(
        source(),
        addr(HOST),
        "another address of the same interface"
    );
    with_kernel(|kernel| {
        kernel.now += 2_000_000_000;
        kernel.route.source = Addr::UNSPECIFIED;
        kernel.route.hop.ifindex = OTHER;
    });
    assert_eq!(send(1, addr(CLIENT), (40_000, 80), ACK), Reason::Outbound);
    assert_eq!(source(), addr("203.0.113.1"));
}

/// The reply of a published port is routed with the address that the client used.
#[test]
fn class3_reply_is_routed_with_the_address_that_the_client_used() {
    node(MASQUERADE);
    publish(8_080, 2, 80);
    let from_outside = segment(addr(CLIENT), addr(HOST), (50_000, 8_080), SYN);
    let reason = handle(Hook::UplinkIngress, &mut at_uplink(&from_outside));
    assert_eq!(reason, Reason::Inbound);
    assert_eq!(
        send(2, addr(CLIENT), (80, 50_000), SYN | ACK),
        Reason::Outbound
    );
    let sources = with_kernel(|kernel| {
        let lookups = kernel.route_lookups.iter();
        lookups.map(|(_, source, ..)| *source).collect::<Vec<_>>()
    });
    assert_eq!(sources, [addr(HOST)]);
}

/// The egress hook lets a packet pass that was translated before, and translates it only once.
#[test]
fn packet_that_was_translated_passes_the_egress_hook() {
    node(MASQUERADE);
    let packet = segment(sandbox(1).2, addr(CLIENT), (40_000, 80), SYN);
    let mut skb = from_sandbox(1, &packet);
    assert_eq!(handle(Hook::EndpointIngress, &mut skb), Reason::Outbound);
    let translated = segment(addr(HOST), addr(CLIENT), (40_000, 80), SYN);
    let translated = Sample {
        ttl: 63,
        ..translated
    }
    .build();
    assert_eq!(skb.bytes[14..], translated[14..]);
    skb.ifindex = UPLINK;
    let bytes = skb.bytes.clone();
    assert_eq!(handle(Hook::UplinkEgress, &mut skb), Reason::Translated);
    assert_eq!(skb.bytes, bytes);
    // The note is erased: the packet is not recognised a second time.
    assert_eq!(handle(Hook::UplinkEgress, &mut skb), Reason::NotOurs);
}
