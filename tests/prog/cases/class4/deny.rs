//! The deny list: packets from a denied address outside are not delivered to sandboxes, and packets of sandboxes to such an
//! address are dropped.

use std::net::IpAddr;

use ipnet::IpNet;
use netpath::plan::denied::DeniedEntry;
use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, Packet, SYN},
    prog::{
        ENDPOINT_IN, Family, MAC_OUTSIDE, MAC_UPLINK, Prog, UPLINK_EGRESS, UPLINK_INGRESS,
        sandbox_mac,
    },
};

use crate::case::{Case, Send, send};
use crate::{both, case, delivered, endpoint_sends, from_sandbox, inbound, leaving};

pub fn cases() -> Vec<Case> {
    let mut cases = both(published);
    cases.extend(both(outbound));
    cases.extend(both(prefixes));
    cases.extend(both(fragments));
    cases.extend(both(errors));
    cases.extend(both(unaffected));
    cases
}

fn deny_until(prog: &mut Prog, prefix: IpNet, until: u64) {
    let entry = DeniedEntry { until };
    prog.tables().put(&[(prefix, entry)]).expect("denied");
}

/// Denies a prefix or an address permanently.
fn deny(prefix: impl Into<IpNet>) -> impl Fn(&mut Prog) + std::marker::Send + Sync {
    let prefix = prefix.into();
    move |prog| deny_until(prog, prefix, u64::MAX)
}

fn arrives(packet: &Packet) -> Send {
    send(UPLINK_INGRESS, "eth0", packet)
}

fn request(family: Family) -> Packet {
    inbound(family, family.host()).tcp(40_000, 8080, SYN)
}

/// The request is delivered.
fn is_delivered(family: Family) -> Send {
    let request = request(family);
    let inside = request.clone().destination(family.sandbox(1)).dport(80);
    arrives(&request)
        .is(Reason::Inbound)
        .sends(&delivered(inside, 1))
        .number_of_flows(1)
}

fn published(family: Family) -> Vec<Case> {
    let client = family.client();
    let is_denied = || {
        arrives(&request(family))
            .is(Reason::Denied)
            .number_of_flows(0)
    };
    let established = arrives(&request(family).flags(ACK)).is(Reason::Denied);
    let reply = from_sandbox(family, 1, client).tcp(80, 40_000, SYN | ACK);
    let out = leaving(family, 1, client).tcp(80, 40_000, SYN | ACK);
    let direct = inbound(family, family.sandbox(4)).tcp(40_000, 80, SYN);
    vec![
        case(family, "a denied client opens no flow to a published port")
            .change(deny(client))
            .then(is_denied()),
        case(
            family,
            "packets of a denied client's flow are dropped in both directions",
        )
        .then(is_delivered(family))
        .change(deny(client))
        .then(arrives(&request(family)).is(Reason::Denied))
        .then(established)
        .then(endpoint_sends(1, &reply).is(Reason::Denied))
        .then(send(UPLINK_EGRESS, "eth0", &out).is(Reason::Denied)),
        case(family, "a client that is no longer denied is served")
            .change(deny(client))
            .then(is_denied())
            .change(move |prog| {
                prog.tables()
                    .remove::<DeniedEntry>(&[client.into()])
                    .expect("denied");
            })
            .then(is_delivered(family)),
        case(family, "a denied client does not reach a routed sandbox")
            .change(deny(client))
            .then(arrives(&direct).is(Reason::Denied).number_of_flows(0)),
        case(
            family,
            "a midstream segment of a denied client opens no flow",
        )
        .change(deny(client))
        .then(
            arrives(&request(family).flags(ACK))
                .is(Reason::Denied)
                .number_of_flows(0),
        ),
    ]
}

fn outbound(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let sent = from_sandbox(family, 1, client).udp(61_500, 80);
    let opened = || {
        endpoint_sends(1, &sent)
            .is(Reason::Outbound)
            .sends(&sent.clone().routed().source(host))
            .number_of_flows(1)
    };
    let reply = inbound(family, host).udp(80, 61_500);
    let echo = from_sandbox(family, 1, client).echo_request(7);
    vec![
        case(family, "the reply of a denied server is dropped")
            .then(opened())
            .change(deny(client))
            .then(arrives(&reply).is(Reason::Denied))
            .then(endpoint_sends(1, &sent).is(Reason::Denied)),
        case(family, "a sandbox opens no flow to a denied server")
            .change(deny(client))
            .then(endpoint_sends(1, &sent).is(Reason::Denied))
            .then(endpoint_sends(1, &echo).is(Reason::Denied))
            .then(
                endpoint_sends(1, &from_sandbox(family, 1, client).protocol(50)).is(Reason::Denied),
            )
            .then(
                send(
                    UPLINK_EGRESS,
                    "eth0",
                    &leaving(family, 1, client).udp(61_500, 80),
                )
                .is(Reason::Denied),
            ),
    ]
}

fn prefixes(family: Family) -> Vec<Case> {
    let client = family.client();
    let within = move |length| IpNet::new(client, length).expect("a length").trunc();
    let short = if family.is_v4() { 8 } else { 16 };
    let all = within(0);
    let other = if family.is_v4() { "::/0" } else { "0.0.0.0/0" };
    let other: IpNet = other.parse().expect("a prefix");
    vec![
        case(family, "a prefix that contains the client denies it")
            .change(deny(within(short)))
            .then(arrives(&request(family)).is(Reason::Denied)),
        case(family, "the prefix of every address denies the client")
            .change(deny(all))
            .then(arrives(&request(family)).is(Reason::Denied)),
        case(
            family,
            "a prefix of the other family does not deny the client",
        )
        .change(deny(other))
        .then(is_delivered(family)),
        case(family, "another client is not denied")
            .change(deny(family.unlisted_client()))
            .then(is_delivered(family)),
        case(family, "an entry that has expired denies nothing")
            .change(move |prog| deny_until(prog, client.into(), 1))
            .then(is_delivered(family)),
    ]
}

/// A fragment. The fragment tables are not reset between cases.
fn part(packet: &Packet, id: u16, offset: u16, more: bool) -> Packet {
    packet.clone().id(id).fragment(offset, more)
}

fn fragments(family: Family) -> Vec<Case> {
    let client = family.client();
    let request = inbound(family, family.host())
        .udp(40_000, 5353)
        .payload(&[7; 64]);
    let first = delivered(request.clone().destination(family.sandbox(1)), 1).dport(53);
    vec![
        case(family, "later fragments of a denied client are dropped")
            .then(
                arrives(&part(&request, 201, 0, true))
                    .is(Reason::Inbound)
                    .sends_with_new_id(&part(&first, 201, 0, true))
                    .number_of_flows(1),
            )
            .change(deny(client))
            .then(arrives(&part(&request, 201, 9, false)).is(Reason::Denied)),
        case(
            family,
            "early fragments of a denied client are passed to the node and not buffered",
        )
        .change(deny(client))
        .then(arrives(&part(&request, 202, 9, false)).is(Reason::NotOurs))
        .then(
            arrives(&part(&request, 202, 0, true))
                .is(Reason::Denied)
                .number_of_flows(0),
        ),
    ]
}

/// An ICMP error of the denied peer itself is dropped; a router is not the peer.
fn errors(family: Family) -> Vec<Case> {
    let (client, host) = (family.client(), family.host());
    let router = family.unlisted_client();
    let sent = leaving(family, 1, client).udp(61_500, 5353);
    let quoted = |packet: &Packet| packet.build().split_off(14);
    let (kind, code) = if family.is_v4() { (3, 3) } else { (1, 4) };
    let error = |from: IpAddr| {
        let about = sent.clone().source(host);
        let carrier = inbound(family, host).source(from);
        carrier.icmp(kind, code, [0; 4]).payload(&quoted(&about))
    };
    let received = delivered(error(router).destination(family.sandbox(1)), 1);
    let received = received.payload(&quoted(&sent));
    let opened = || {
        send(UPLINK_EGRESS, "eth0", &sent)
            .is(Reason::Translated)
            .sends(&sent.clone().source(host))
            .number_of_flows(1)
    };
    vec![
        case(family, "an ICMP error of a denied peer is dropped")
            .then(opened())
            .change(deny(client))
            .then(arrives(&error(client)).is(Reason::Denied)),
        case(family, "an ICMP error of a denied router is delivered")
            .then(opened())
            .change(deny(router))
            .then(arrives(&error(router)).is(Reason::Inbound).sends(&received)),
    ]
}

/// What the deny list does not apply to, although it contains every address.
fn unaffected(family: Family) -> Vec<Case> {
    let all = IpNet::new(family.client(), 0).expect("a length").trunc();
    let host = family.host();
    let own = inbound(family, host).tcp(40_000, 22, SYN);
    let stray = inbound(family, host).icmp(3, 1, [0; 4]);
    let sibling = from_sandbox(family, 2, family.sandbox(1)).tcp(40_000, 80, SYN);
    let hairpin = from_sandbox(family, 2, host).tcp(40_000, 8080, SYN);
    let inside = hairpin.clone().destination(family.sandbox(1)).dport(80);
    vec![
        case(family, "services of the node answer a denied client")
            .change(deny(all))
            .then(arrives(&own).is(Reason::NotOurs))
            .then(arrives(&own.clone().flags(ACK)).is(Reason::NotOurs))
            .then(arrives(&stray).is(Reason::IcmpError)),
        case(family, "sandboxes reach each other whatever is denied")
            .change(deny(all))
            .then(
                send(ENDPOINT_IN, "ve2", &sibling)
                    .is(Reason::Sibling)
                    .sends(&sibling.clone().eth(sandbox_mac(2), sandbox_mac(1))),
            )
            .then(
                send(ENDPOINT_IN, "ve2", &hairpin)
                    .is(Reason::Hairpin)
                    .sends(&delivered(inside, 1))
                    .number_of_flows(1),
            ),
        case(family, "the node's own traffic is not affected")
            .change(deny(all))
            .then(
                send(
                    UPLINK_EGRESS,
                    "eth0",
                    &Packet::ip(host, family.client())
                        .eth(MAC_UPLINK, MAC_OUTSIDE)
                        .tcp(22, 40_000, ACK),
                )
                .is(Reason::NotOurs),
            ),
    ]
}
