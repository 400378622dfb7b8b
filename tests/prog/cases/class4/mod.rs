//! Functions of the stack that redirected packets skip: priority tags, neighbour discovery, link-local addresses, broadcast;
//! and the deny list.

mod deny;
mod link;
mod neighbours;
mod tags;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{Family, UPLINK_INGRESS, sandbox_mac},
};

use crate::case::{Case, send};
use crate::{case, endpoint_sends, inbound};

pub fn cases() -> Vec<Case> {
    let mut cases = tags::cases();
    cases.extend(neighbours::cases());
    cases.extend(link::cases());
    cases.extend(deny::cases());
    cases.extend(broadcast());
    cases
}

fn broadcast() -> Vec<Case> {
    let family = Family::BOTH[0];
    let to = |slot: u32, destination: [u8; 4]| {
        Packet::ip(family.sandbox(slot), destination.into()).eth(sandbox_mac(slot), [0xff; 6])
    };
    let is = |name: &str, slot: u32, packet: Packet, reason| {
        case(family, name).then(endpoint_sends(slot, &packet).is(reason))
    };
    vec![
        is(
            "directed broadcast passes to the bridge",
            1,
            to(1, [10, 1, 0, 255]).udp(1, 2),
            Reason::LinkLocal,
        ),
        is(
            "a later fragment of a directed broadcast passes to the bridge",
            1,
            to(1, [10, 1, 0, 255])
                .udp(1, 2)
                .payload(&[0; 64])
                .fragment(9, false),
            Reason::LinkLocal,
        ),
        is(
            "directed broadcast is dropped with icc off",
            7,
            to(7, [10, 5, 0, 255]).udp(1, 2),
            Reason::IccOff,
        ),
        is(
            "broadcast to another network is dropped",
            1,
            to(1, [10, 2, 0, 255]).udp(1, 2),
            Reason::NotGateway,
        ),
        is(
            "broadcast to an unused address is dropped",
            1,
            to(1, [10, 1, 0, 200]).udp(1, 2),
            Reason::NotGateway,
        ),
        case(family, "directed broadcast from outside is dropped").then(
            send(
                UPLINK_INGRESS,
                "eth0",
                &inbound(family, [10, 1, 0, 255].into()).udp(1, 2),
            )
            .is(Reason::DirectAccess),
        ),
    ]
}
