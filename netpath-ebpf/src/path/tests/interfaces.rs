//! Interfaces without an Ethernet header, and interfaces that the setting `uplink` excludes.

use netpath_common::{
    hook::Hook,
    maps::{Device, MASQUERADE, Role},
    reason::Reason,
};

use super::{
    CLIENT, HOST, UPLINK, addr, at_uplink, handle, node, publish, routed_to_sandbox, sandbox,
    segment, send,
};
use crate::{
    maps,
    packet::skb::Skb,
    parse::{ACK, ETHERNET, ETHERTYPE_IPV4, SYN},
    sample::Sample,
};

/// The packet at an interface without an Ethernet header.
fn without_link_header(packet: &Sample) -> Skb {
    let skb = at_uplink(packet);
    Skb {
        bytes: skb.bytes[ETHERNET..].to_vec(),
        ethertype: ETHERTYPE_IPV4,
        ..skb
    }
}

#[test]
fn class1_packet_without_link_header_is_translated_and_gets_one_for_the_sandbox() {
    node(MASQUERADE);
    let out = segment(sandbox(1).2, addr(CLIENT), (40_000, 80), SYN);
    let mut skb = without_link_header(&out);
    assert_eq!(handle(Hook::UplinkEgress, &mut skb), Reason::Translated);
    let translated = segment(addr(HOST), addr(CLIENT), (40_000, 80), SYN);
    assert_eq!(skb.bytes, without_link_header(&translated).bytes);

    let reply = segment(addr(CLIENT), addr(HOST), (80, 40_000), SYN | ACK);
    let mut skb = without_link_header(&reply);
    assert_eq!(handle(Hook::UplinkIngress, &mut skb), Reason::Inbound);
    let delivered = segment(addr(CLIENT), sandbox(1).2, (80, 40_000), SYN | ACK);
    assert_eq!(skb.bytes, routed_to_sandbox(delivered));

    let foreign = segment(addr(CLIENT), addr("203.0.113.9"), (1, 2), SYN);
    let mut skb = without_link_header(&foreign);
    let before = skb.bytes.clone();
    assert_eq!(handle(Hook::UplinkIngress, &mut skb), Reason::NotOurs);
    assert_eq!(skb.bytes, before);
    skb.ethertype = 0x8847;
    assert_eq!(handle(Hook::UplinkIngress, &mut skb), Reason::NotOurs);
}

#[test]
fn class1_guarded_interface_serves_no_port_and_sends_no_packet_of_a_sandbox() {
    node(MASQUERADE);
    publish(8080, 1, 80);
    let guarded = Device {
        role: Role::Guarded as u32,
        mtu: 1_500,
        v4: addr(HOST),
        ..Device::default()
    };
    maps::DEVICES.insert(&UPLINK, &guarded, 0).expect("room");
    let syn = segment(addr(CLIENT), addr(HOST), (40_000, 8080), SYN);
    let reason = handle(Hook::UplinkIngress, &mut at_uplink(&syn));
    assert_eq!(reason, Reason::NotOurs);
    let direct = segment(addr(CLIENT), sandbox(1).2, (40_000, 80), SYN);
    let reason = handle(Hook::UplinkIngress, &mut at_uplink(&direct));
    assert_eq!(reason, Reason::DirectAccess);
    assert_eq!(send(1, addr(CLIENT), (1, 80), SYN), Reason::NoUplink);
    let out = segment(sandbox(1).2, addr(CLIENT), (40_000, 80), SYN);
    let reason = handle(Hook::UplinkEgress, &mut at_uplink(&out));
    assert_eq!(reason, Reason::NoUplink);
}
