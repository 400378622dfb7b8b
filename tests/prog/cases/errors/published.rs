//! ICMP errors about flows to published ports.

use std::net::IpAddr;

use netpath_common::reason::Reason;
use netpath_tests::{
    packet::Packet,
    prog::{ENDPOINT_IN, Family, UPLINK_EGRESS, UPLINK_INGRESS, gateway_mac, sandbox_mac},
};

use super::{error, port_unreachable, quote};
use crate::{
    case,
    case::{Case, Send, send},
    delivered, from_sandbox, inbound, leaving,
};

/// A request to the published port 5353/udp, and the request that the sandbox receives.
pub fn published_request(family: Family) -> (Packet, Packet) {
    let request = inbound(family, family.host()).udp(40_000, 5353);
    let inside = delivered(request.clone().destination(family.sandbox(1)), 1).dport(53);
    (request, inside)
}

pub fn opened(family: Family) -> Send {
    let (request, inside) = published_request(family);
    send(UPLINK_INGRESS, "eth0", &request)
        .is(Reason::Inbound)
        .sends(&inside)
        .number_of_flows(1)
}

pub fn about_published(family: Family) -> Vec<Case> {
    let (client, host, about) = (family.client(), family.host(), port_unreachable(family));
    let (request, inside) = published_request(family);
    let closed = error(leaving(family, 1, client), about, &quote(&inside, None));
    let told = error(
        leaving(family, 1, client).source(host),
        about,
        &quote(&request.routed(), None),
    );
    let reply = leaving(family, 1, client).udp(53, 40_000);
    let translated_reply = reply.clone().source(host).sport(5353);
    let carrier = inbound(family, host).source(family.unlisted_client());
    vec![
        case(family, "a closed port is reported from the host's address")
            .then(opened(family))
            .then(
                send(UPLINK_EGRESS, "eth0", &closed)
                    .is(Reason::Translated)
                    .sends(&told),
            ),
        case(family, "an error about a reply reaches its sender")
            .then(opened(family))
            .then(
                send(UPLINK_EGRESS, "eth0", &reply)
                    .is(Reason::Translated)
                    .sends(&translated_reply),
            )
            .then(
                send(
                    UPLINK_INGRESS,
                    "eth0",
                    &error(carrier.clone(), about, &quote(&translated_reply, Some(8))),
                )
                .is(Reason::Inbound)
                .sends(&error(
                    delivered(carrier.destination(family.sandbox(1)), 1),
                    about,
                    &quote(&reply, Some(8)),
                )),
            ),
    ]
}

pub fn about_hairpins(family: Family) -> Vec<Case> {
    let (host, about) = (family.host(), port_unreachable(family));
    let between = |name: &str, client: u32, seen: IpAddr| {
        let request = from_sandbox(family, client, host).udp(61_500, 5353);
        let inside = delivered(request.clone().destination(family.sandbox(1)), 1)
            .source(seen)
            .dport(53);
        let closed = error(
            Packet::ip(family.sandbox(1), seen).eth(sandbox_mac(1), gateway_mac(1)),
            about,
            &quote(&inside, None),
        );
        let told = error(
            Packet::ip(host, family.sandbox(client))
                .eth(gateway_mac(client), sandbox_mac(client))
                .routed(),
            about,
            &quote(&request.clone().routed(), None),
        );
        case(family, name)
            .then(
                send(ENDPOINT_IN, format!("ve{client}"), &request)
                    .is(Reason::Hairpin)
                    .sends(&inside)
                    .number_of_flows(1),
            )
            .then(
                send(ENDPOINT_IN, "ve1", &closed)
                    .is(Reason::Hairpin)
                    .sends(&told),
            )
    };
    vec![
        between(
            "a closed port is reported to a sibling from the host's address",
            2,
            family.sandbox(2),
        ),
        between(
            "a closed port is reported to another network",
            3,
            family.sandbox(3),
        ),
        between(
            "a closed port is reported to its own sandbox",
            1,
            family.gateway(1),
        ),
    ]
}
