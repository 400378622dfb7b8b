//! Fragments: later fragments are translated as the first one.

use netpath_common::{maps::PENDING_SLOTS, reason::Reason};
use netpath_tests::{
    packet::Packet,
    prog::{ENDPOINT_IN, ENDPOINT_OUT, Family, UPLINK_EGRESS, UPLINK_INGRESS},
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, from_sandbox, inbound, leaving};

pub fn cases() -> Vec<Case> {
    let mut cases = both(in_order);
    cases.extend(both(early));
    cases
}

/// A fragment. The fragment tables are not reset between cases, so that each case uses its own identification.
fn part(packet: &Packet, id: u16, offset: u16, more: bool) -> Packet {
    packet.clone().id(id).fragment(offset, more)
}

fn in_order(family: Family) -> Vec<Case> {
    let (client, host, inside) = (family.client(), family.host(), family.sandbox(1));
    let out = leaving(family, 1, client)
        .udp(61_500, 5353)
        .payload(&[7; 64]);
    let translated = out.clone().source(host);
    let request = inbound(family, host).udp(40_000, 5353).payload(&[7; 64]);
    let first = delivered(request.clone().destination(inside), 1).dport(53);
    let later = delivered(request.clone().destination(inside), 1);
    let sibling = from_sandbox(family, 2, host)
        .udp(61_500, 5353)
        .payload(&[7; 64]);
    let crossing = |id: u16, offset: u16, more: bool| {
        send(ENDPOINT_IN, "ve2", &part(&sibling, id, offset, more))
            .is(Reason::Hairpin)
            .sends_with_new_id(&{
                let delivered = delivered(part(&sibling, id, offset, more).destination(inside), 1);
                if offset == 0 {
                    delivered.dport(53)
                } else {
                    delivered
                }
            })
    };
    let atomic = part(&out, 1, 0, false);
    vec![
        case(family, "fragments leave with one new identification")
            .then(leaves(&part(&out, 2, 0, true), &translated, 2, 0, true).number_of_flows(1))
            .then(leaves(&part(&out, 2, 9, true), &translated, 2, 9, true))
            .then(leaves(&part(&out, 2, 17, false), &translated, 2, 17, false)),
        case(family, "an atomic fragment is handled as a whole packet")
            .then(
                send(UPLINK_EGRESS, "eth0", &atomic)
                    .is(Reason::Translated)
                    .sends(&atomic.clone().source(host))
                    .number_of_flows(1),
            )
            .then(send(UPLINK_EGRESS, "eth0", &part(&out, 1, 9, false)).is(Reason::FragmentHeld)),
        case(family, "fragments reach a published port")
            .then(
                send(UPLINK_INGRESS, "eth0", &part(&request, 3, 0, true))
                    .is(Reason::Inbound)
                    .sends_with_new_id(&part(&first, 3, 0, true))
                    .number_of_flows(1),
            )
            .then(
                send(UPLINK_INGRESS, "eth0", &part(&request, 3, 9, false))
                    .is(Reason::Inbound)
                    .sends_with_new_id(&part(&later, 3, 9, false)),
            )
            .then(
                send(UPLINK_INGRESS, "eth0", &part(&request, 3, 9, false))
                    .is(Reason::FragmentEarly),
            ),
        case(family, "fragments reach a sibling through a published port")
            .then(crossing(4, 0, true).number_of_flows(1))
            .then(crossing(4, 9, false)),
        last_hop(family, &request, &first),
        case(family, "fragments made by the stack reach the sandbox")
            .then(
                send(UPLINK_INGRESS, "eth0", &request)
                    .is(Reason::Inbound)
                    .sends(&first)
                    .number_of_flows(1),
            )
            .then(
                send(ENDPOINT_OUT, "ve1", &part(&first, 6, 0, true))
                    .from("eth0")
                    .is(Reason::FromHost),
            )
            .then(
                send(ENDPOINT_OUT, "ve1", &part(&first, 6, 9, false))
                    .from("eth0")
                    .is(Reason::FromHost),
            ),
    ]
}

fn leaves(packet: &Packet, translated: &Packet, id: u16, offset: u16, more: bool) -> Send {
    send(UPLINK_EGRESS, "eth0", packet)
        .is(Reason::Translated)
        .sends_with_new_id(&part(translated, id, offset, more))
}

/// An ICMPv6 error about a later fragment would lack the ports that identify the flow; the first fragment gets it.
fn last_hop(family: Family, request: &Packet, first: &Packet) -> Case {
    let last = part(request, 5, 9, true).ttl(1);
    let end = send(UPLINK_INGRESS, "eth0", &last);
    let inside = last.clone().destination(family.sandbox(1));
    case(family, "a later fragment with TTL 1 is not forwarded")
        .then(
            send(UPLINK_INGRESS, "eth0", &part(request, 5, 0, true))
                .is(Reason::Inbound)
                .sends_with_new_id(&part(first, 5, 0, true))
                .number_of_flows(1),
        )
        .then(if family.is_v4() {
            end.is(Reason::TtlExceeded).sends_with_new_id(&inside)
        } else {
            end.is(Reason::Fragment)
        })
}

/// Later fragments that arrive before the first.
fn early(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let out = leaving(family, 1, client)
        .udp(61_500, 5353)
        .payload(&[7; 64]);
    let request = inbound(family, host).udp(40_000, 5353).payload(&[7; 64]);
    let direct = inbound(family, family.sandbox(4)).udp(40_000, 80);
    let replayed = |program: &'static str, device: &str, packet: &Packet| {
        send(program, device, packet)
            .is(Reason::FragmentsReplayed)
            .number_of_flows(1)
    };
    vec![
        case(
            family,
            "an early fragment is buffered and sent after the first",
        )
        .then(send(UPLINK_EGRESS, "eth0", &part(&out, 11, 9, false)).is(Reason::FragmentHeld))
        .then(replayed(UPLINK_EGRESS, "eth0", &part(&out, 11, 0, true))),
        case(
            family,
            "an early fragment to the node is passed to the node too",
        )
        .then(send(UPLINK_INGRESS, "eth0", &part(&request, 12, 9, false)).is(Reason::FragmentEarly))
        .then(replayed(
            UPLINK_INGRESS,
            "eth0",
            &part(&request, 12, 0, true),
        )),
        case(
            family,
            "an early fragment of a sandbox to the node is passed to the node too",
        )
        .then(
            send(
                ENDPOINT_IN,
                "ve2",
                &part(
                    &from_sandbox(family, 2, host).udp(61_500, 5353),
                    13,
                    9,
                    false,
                ),
            )
            .is(Reason::FragmentEarly),
        ),
        case(family, "an early fragment to a routed sandbox is buffered").then(
            send(UPLINK_INGRESS, "eth0", &part(&direct, 14, 9, false)).is(Reason::FragmentHeld),
        ),
        many_early(family, &out),
        case(family, "a datagram of another sender is not buffered")
            .then(send(UPLINK_EGRESS, "eth0", &part(&out, 16, 9, false)).is(Reason::FragmentHeld))
            .then(
                send(
                    UPLINK_EGRESS,
                    "eth0",
                    &part(&leaving(family, 2, client).udp(61_600, 5353), 16, 0, true),
                )
                .is(Reason::Translated)
                .sends_with_new_id(&part(
                    &leaving(family, 2, client).udp(61_600, 5353).source(host),
                    16,
                    0,
                    true,
                ))
                .number_of_flows(1),
            ),
    ]
}

fn many_early(family: Family, packet: &Packet) -> Case {
    let early = |number: u16| send(UPLINK_EGRESS, "eth0", &part(packet, 15, 9 * number, true));
    let places = PENDING_SLOTS as u16;
    let case = case(family, "a datagram has a limited number of early fragments");
    let full = (1..=places).fold(case, |case, number| {
        case.then(early(number).is(Reason::FragmentHeld))
    });
    full.then(early(places + 1).is(Reason::Fragment))
}
