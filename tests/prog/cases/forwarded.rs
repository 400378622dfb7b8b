//! Packets that a sandbox forwards for others: slot 2 with slot 3 in another network.

use std::net::IpAddr;

use netpath_common::{
    maps::{FORWARDING, MULTIHOMED},
    reason::Reason,
};
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{ENDPOINT_IN, Family, Prog, UPLINK_INGRESS, endpoint, gateway_mac, sandbox_mac},
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, endpoint_sends, from_sandbox, inbound};

const ROUTER: u32 = 2;

pub fn cases() -> Vec<Case> {
    let mut cases = both(to_router);
    cases.extend(both(from_router));
    cases.extend(both(to_outside));
    cases.extend(both(refused));
    cases
}

/// Makes the sandbox with the endpoints in slots 2 and 3 a forwarding sandbox.
fn make_router(prog: &mut Prog) {
    let sandbox = endpoint(ROUTER).sandbox;
    for (slot, next) in [(ROUTER, 3), (3, ROUTER)] {
        let mut entry = endpoint(slot);
        entry.flags |= FORWARDING | MULTIHOMED;
        entry.next = next;
        entry.sandbox = sandbox.clone();
        prog.tables().put(&[(slot, entry)]).expect("endpoint");
    }
}

fn routed_case(family: Family, name: &str) -> Case {
    case(family, name).change(make_router)
}

/// An address beyond the forwarding sandbox.
fn beyond(family: Family) -> IpAddr {
    family.pick([10, 99, 0, 5], "fd00:99::5")
}

/// A packet that the sandbox in slot 1 sends to the MAC address of another one.
fn to_sibling(family: Family, to: IpAddr) -> Packet {
    from_sandbox(family, 1, to).eth(sandbox_mac(1), sandbox_mac(ROUTER))
}

/// A packet that the forwarding sandbox forwards to the gateway.
fn forwarded(family: Family, from: IpAddr, to: IpAddr) -> Packet {
    from_sandbox(family, ROUTER, to).source(from)
}

fn router_sends(packet: &Packet) -> Send {
    endpoint_sends(ROUTER, packet)
}

fn to_router(family: Family) -> Vec<Case> {
    let delivered = |name: &str, packet: Packet| {
        routed_case(family, name).then(endpoint_sends(1, &packet).is(Reason::Sibling))
    };
    let dropped = |name: &str, packet: Packet, reason| {
        routed_case(family, name).then(endpoint_sends(1, &packet).is(reason))
    };
    let to_host = to_sibling(family, family.host()).tcp(1, 22, SYN);
    let mut cases = rows! { delivered;
        "a sibling's packet to a host beyond the forwarding sandbox is delivered": to_sibling(family, beyond(family)).tcp(1, 80, SYN);
        "a sibling's packet of any protocol is delivered": to_sibling(family, beyond(family)).protocol(47);
        "a sibling's later fragment is delivered": to_sibling(family, beyond(family)).fragment(9, false);
        "a sibling's packet to another network of the forwarding sandbox is delivered": to_sibling(family, family.sandbox(3)).tcp(1, 80, SYN);
        "a sibling's packet to the node is delivered": to_host.clone();
    };
    cases.extend(rows! { dropped;
        "a packet to a network that the forwarding sandbox is not in is dropped": to_sibling(family, family.sandbox(9)).udp(1, 2), Reason::Isolated;
        "a source that is not the sibling's is dropped": to_sibling(family, beyond(family)).source(beyond(family)).udp(1, 2), Reason::Spoofed;
    });
    cases.push(
        routed_case(
            family,
            "a forwarding sandbox is not reached from a network without communication",
        )
        .change(|prog| {
            for slot in [1, ROUTER] {
                let mut entry = endpoint(slot);
                entry.flags |= FORWARDING | netpath_common::maps::ICC_OFF;
                prog.tables().put(&[(slot, entry)]).expect("endpoint");
            }
        })
        .then(endpoint_sends(1, &to_sibling(family, beyond(family)).udp(1, 2)).is(Reason::IccOff)),
    );
    cases.extend([
        case(
            family,
            "a sandbox that does not forward gets no packet to a host beyond it",
        )
        .then(
            endpoint_sends(1, &to_sibling(family, beyond(family)).udp(1, 2)).is(Reason::NotGateway),
        ),
        case(
            family,
            "a sandbox that does not forward gets no packet to the node",
        )
        .then(endpoint_sends(1, &to_host).is(Reason::NotGateway)),
        routed_case(
            family,
            "a sandbox that no longer forwards gets no packet to a host beyond it",
        )
        .change(|prog| {
            prog.tables()
                .put(&[(ROUTER, endpoint(ROUTER))])
                .expect("endpoint");
        })
        .then(
            endpoint_sends(1, &to_sibling(family, beyond(family)).udp(1, 2)).is(Reason::NotGateway),
        ),
    ]);
    cases
}

fn from_router(family: Family) -> Vec<Case> {
    let to_one =
        |from| forwarded(family, from, family.sandbox(1)).eth(sandbox_mac(ROUTER), sandbox_mac(1));
    let delivered = |name: &str, packet: Packet| {
        routed_case(family, name).then(router_sends(&packet).is(Reason::Sibling))
    };
    rows! { delivered;
        "a packet from beyond the forwarding sandbox is delivered": to_one(beyond(family)).tcp(80, 1, SYN | ACK);
        "a packet of the forwarding sandbox itself is delivered": to_one(family.sandbox(ROUTER)).udp(1, 2);
        "a packet from another network of the forwarding sandbox is delivered": to_one(family.sandbox(3)).udp(1, 2);
        "an echo request from beyond the forwarding sandbox is delivered": to_one(beyond(family)).echo_request(7);
    }
}

fn to_outside(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let exchange = |name: &str, from: IpAddr| {
        let request = forwarded(family, from, client).tcp(61_500, 80, SYN);
        let reply = inbound(family, host).tcp(80, 61_500, SYN | ACK);
        routed_case(family, name)
            .then(
                router_sends(&request)
                    .is(Reason::Outbound)
                    .sends(&request.clone().routed().source(host))
                    .number_of_flows(1),
            )
            .then(
                send(UPLINK_INGRESS, "eth0", &reply)
                    .is(Reason::Inbound)
                    .sends(&delivered(reply.clone().destination(from), ROUTER))
                    .number_of_flows(1),
            )
            .then(
                router_sends(&request.clone().flags(ACK))
                    .is(Reason::Outbound)
                    .sends(&request.clone().flags(ACK).routed().source(host))
                    .number_of_flows(1),
            )
    };
    let request = forwarded(family, beyond(family), client);
    let dropped = |name: &str, packet: Packet| {
        routed_case(family, name).then(router_sends(&packet).is(Reason::Forwarded))
    };
    let mut cases = vec![
        exchange(
            "a sibling's packet is masqueraded and its reply delivered to the forwarding sandbox",
            family.sandbox(1),
        ),
        exchange(
            "a packet from beyond the forwarding sandbox is masqueraded and its reply delivered to the forwarding sandbox",
            beyond(family),
        ),
    ];
    cases.extend(rows! { dropped;
        "a fragment from beyond the forwarding sandbox does not leave the node": request.clone().udp(1, 2).fragment(0, true);
        "a later fragment from beyond the forwarding sandbox does not leave the node": request.clone().fragment(9, false);
        "an unknown protocol from beyond the forwarding sandbox does not leave the node": request.clone().protocol(47);
        "a packet from beyond the forwarding sandbox with an exceeded TTL does not reach the stack": request.clone().tcp(1, 80, SYN).ttl(1);
        "a packet from beyond the forwarding sandbox that is too big does not reach the stack": request.clone().udp(1, 2).payload(&[7; 2000]);
        "a packet from beyond the forwarding sandbox without a route does not reach the stack":
            forwarded(family, beyond(family), family.unreachable()).tcp(1, 80, SYN);
    });
    cases.push(
        routed_case(
            family,
            "a source from beyond a network without masquerading does not leave the node",
        )
        .change(|prog| {
            let mut entry = endpoint(9);
            entry.flags |= FORWARDING;
            prog.tables().put(&[(9, entry)]).expect("endpoint");
        })
        .then(
            send(
                ENDPOINT_IN,
                "ve9",
                &from_sandbox(family, 9, client)
                    .source(beyond(family))
                    .tcp(1, 80, SYN),
            )
            .is(Reason::Forwarded),
        ),
    );
    let big = inbound(family, host).udp(80, 61_500).payload(&[7; 2000]);
    let first = request.udp(61_500, 80);
    cases.push(
        routed_case(
            family,
            "a reply to beyond the forwarding sandbox that is too big does not reach the stack",
        )
        .then(
            router_sends(&first)
                .is(Reason::Outbound)
                .sends(&first.clone().routed().source(host))
                .number_of_flows(1),
        )
        .then(
            send(UPLINK_INGRESS, "eth0", &big)
                .is(Reason::Forwarded)
                .number_of_flows(1),
        ),
    );
    cases
}

fn refused(family: Family) -> Vec<Case> {
    let spoofed = |name: &str, packet: Packet| {
        routed_case(family, name).then(router_sends(&packet).is(Reason::Spoofed))
    };
    let client = family.client();
    let from = |source| forwarded(family, source, client).udp(1, 2);
    let to = |destination| forwarded(family, beyond(family), destination).tcp(1, 8080, SYN);
    let group = family.pick([224, 0, 0, 251], "ff02::fb");
    let error = if family.is_v4() { 3 } else { 1 };
    let mut cases = rows! { spoofed;
        "the node's address as source is dropped": from(family.host());
        "the gateway's address as source is dropped": from(family.gateway(1));
        "the address of a sandbox in a foreign network as source is dropped": from(family.sandbox(9));
        "an unused address of the network as source is dropped": from(family.unused_address(1));
        "an unused address of a foreign network as source is dropped": from(family.unused_address(6));
        "a loopback address as source is dropped": from(family.pick([127, 0, 0, 1], "::1"));
        "a multicast address as source is dropped": from(group);
        "the unspecified address as source is dropped": from(family.pick([0, 0, 0, 0], "::"));
        "a packet from beyond the forwarding sandbox to the node is dropped": to(family.host());
        "a packet from beyond the forwarding sandbox to the gateway is dropped": to(family.gateway(1));
        "a packet from beyond the forwarding sandbox to a foreign network is dropped": to(family.sandbox(4));
        "a packet from beyond the forwarding sandbox to a multicast group is dropped": to(group);
        "a sibling's address as source to a sandbox of its network is dropped":
            forwarded(family, family.sandbox(1), family.sandbox(ROUTER)).udp(1, 2);
        "another MAC address is dropped": from(beyond(family)).eth(sandbox_mac(1), gateway_mac(1));
        "an ICMP error from beyond the forwarding sandbox to the node is dropped": forwarded(family, beyond(family), family.host())
            .icmp(error, 1, [0; 4])
            .payload(&from_sandbox(family, 1, client).udp(1, 2).build()[14..]);
    };
    let opened = forwarded(family, beyond(family), client).tcp(61_500, 80, SYN);
    let other = from_sandbox(family, 11, client)
        .source(beyond(family))
        .tcp(61_500, 80, ACK);
    if family.is_v4() {
        cases.push(
            routed_case(
                family,
                "a flow from beyond another forwarding sandbox with the same tuple is not used",
            )
            .change(|prog| {
                let mut entry = endpoint(11);
                entry.flags |= FORWARDING;
                prog.tables().put(&[(11, entry)]).expect("endpoint");
            })
            .then(
                router_sends(&opened)
                    .is(Reason::Outbound)
                    .sends(&opened.clone().routed().source(family.host()))
                    .number_of_flows(1),
            )
            .then(endpoint_sends(11, &other).is(Reason::Forwarded)),
        );
    }
    cases
}
