//! Packets that are dropped, and packets that are left to the stack.

use netpath::plan::tables::EndpointEntry;
use netpath_common::reason::Reason;
use netpath_tests::{
    packet::{ACK, FIN, Packet, RST, SYN},
    prog::{Family, MAC_OUTSIDE, MAC_UPLINK, UPLINK_EGRESS, UPLINK_INGRESS},
};

use crate::case::{Case, send};
use crate::{both, case, delivered, endpoint_sends, from_sandbox, inbound, leaving};

pub fn cases() -> Vec<Case> {
    let mut cases = both(from_outside);
    cases.extend(both(out_of_sandboxes));
    cases.extend(both(at_the_border));
    cases.extend(both(without_endpoint));
    cases
}

fn from_outside(family: Family) -> Vec<Case> {
    let at_eth0 = |name: &str, packet: Packet, reason| {
        case(family, name).then(send(UPLINK_INGRESS, "eth0", &packet).is(reason))
    };
    let from_inside = |name: &str, source| {
        let packet = inbound(family, family.host())
            .tcp(1, 8080, SYN)
            .source(source);
        at_eth0(name, packet, Reason::Martian)
    };
    let direct = inbound(family, family.sandbox(1));
    let loopback = family.pick([127, 0, 0, 1], "::1");
    let error = inbound(family, family.host()).icmp(3, 1, [0; 4]);
    vec![
        at_eth0(
            "a sandbox is not reached directly",
            direct.clone().tcp(1, 80, SYN),
            Reason::DirectAccess,
        ),
        at_eth0(
            "a sandbox is not reached by a segment without a flow",
            direct.clone().tcp(1, 80, ACK),
            Reason::DirectAccess,
        ),
        at_eth0(
            "a sandbox is not reached by echo",
            direct.clone().echo_request(1),
            Reason::DirectAccess,
        ),
        at_eth0(
            "a sandbox is not reached by ESP",
            direct.clone().protocol(50),
            Reason::DirectAccess,
        ),
        at_eth0(
            "a sandbox is not reached by later fragments",
            direct.clone().udp(1, 2).fragment(9, false),
            Reason::DirectAccess,
        ),
        at_eth0(
            "a sandbox is not reached by ICMP errors",
            direct.clone().icmp(3, 1, [0; 4]),
            Reason::DirectAccess,
        ),
        at_eth0(
            "an unused address of a network is not reached from outside",
            inbound(family, family.unused_address(1)).udp(1, 2),
            Reason::DirectAccess,
        ),
        at_eth0(
            "an internal network is not reached",
            inbound(family, family.sandbox(5)).udp(1, 2),
            Reason::DirectAccess,
        ),
        at_eth0(
            "a loopback destination is dropped",
            inbound(family, loopback).tcp(1, 8080, SYN),
            Reason::Martian,
        ),
        at_eth0(
            "a loopback source is dropped",
            Packet::ip(loopback, family.host())
                .eth(MAC_OUTSIDE, MAC_UPLINK)
                .tcp(1, 8080, SYN),
            Reason::Martian,
        ),
        from_inside(
            "a sandbox's source from outside is dropped",
            family.sandbox(2),
        ),
        from_inside(
            "a private source from outside is dropped",
            family.unused_address(1),
        ),
        from_inside(
            "the node's own source from outside is dropped",
            family.host(),
        ),
        at_eth0(
            "an ICMP error about the host's traffic is passed to the host",
            error,
            Reason::IcmpError,
        ),
        at_eth0(
            "multicast is passed to the host",
            inbound(family, family.pick([224, 0, 0, 1], "ff02::1")).udp(1, 2),
            Reason::NotOurs,
        ),
        at_eth0(
            "a packet that the host routes for others is passed to the host",
            inbound(family, family.lan_host()).udp(1, 2),
            Reason::NotOurs,
        ),
        at_eth0(
            "a packet with a VLAN tag is passed to the stack",
            inbound(family, family.host()).tcp(1, 8080, SYN).vlan(5),
            Reason::NotOurs,
        ),
        at_eth0(
            "ARP is passed to the host",
            Packet::ethertype(0x0806, &[0; 28]),
            Reason::NotOurs,
        ),
    ]
}

fn out_of_sandboxes(family: Family) -> Vec<Case> {
    let to = |slot, destination| from_sandbox(family, slot, destination).udp(1, 2);
    let sends = |name: &str, slot, packet: Packet, reason| {
        case(family, name).then(endpoint_sends(slot, &packet).is(reason))
    };
    let client = family.client();
    let own = family.pick([192, 0, 3, 1], "2001:db8:3::1");
    rows! { sends;
        "a packet of an internal network does not leave": 5, to(5, client), Reason::InternalNetwork;
        "a packet with TTL 1 is passed to the stack": 1, to(1, client).ttl(1), Reason::TtlExceeded;
        "a packet longer than the MTU is passed to the stack": 1, to(1, client).payload(&[7; 1600]), Reason::TooBig;
        "a packet with an unreachable route is passed to the stack": 1, to(1, family.unreachable()), Reason::Unreachable;
        "an unlisted address of the node is passed to the stack": 1, to(1, own), Reason::ToHost;
        "a route through a device that is not an uplink is not used": 1, to(1, family.lan_host()), Reason::NoUplink;
        "a packet from a bridge without forwarding is dropped": 10, to(10, client), Reason::NoRoute;
        "a packet to an unused address of a network is dropped": 1, to(1, family.unused_address(2)), Reason::NoUplink;
    }
}

fn at_the_border(family: Family) -> Vec<Case> {
    let at = |name: &str, device: &str, packet: Packet, reason| {
        case(family, name).then(send(UPLINK_EGRESS, device, &packet).is(reason))
    };
    let client = family.client();
    let out = leaving(family, 1, client);
    let segment = |flags| out.clone().tcp(61_500, 80, flags);
    let unused_source = Packet::ip(family.unused_address(1), client).udp(1, 2);
    let lost = leaving(family, 1, family.unreachable()).udp(1, 2);
    let request = from_sandbox(family, 2, family.host()).tcp(40_000, 8080, SYN);
    let inside = request.clone().destination(family.sandbox(1)).dport(80);
    let lost_address = case(family, "a flow between sandboxes does not leave").then(
        endpoint_sends(2, &request)
            .is(Reason::Hairpin)
            .sends(&delivered(inside, 1))
            .number_of_flows(1),
    );
    let mut cases = vec![
        lost_address.then(send(UPLINK_EGRESS, "eth0", &request).is(Reason::PrivateSource)),
        at(
            "a segment without a flow is dropped",
            "eth0",
            segment(ACK),
            Reason::NoFlow,
        ),
        at(
            "a FIN without a flow is dropped",
            "eth0",
            segment(FIN | ACK),
            Reason::NoFlow,
        ),
        at(
            "an RST without a flow is dropped",
            "eth0",
            segment(RST),
            Reason::NoFlow,
        ),
        at(
            "a SYN-ACK without a flow is dropped",
            "eth0",
            segment(SYN | ACK),
            Reason::NoFlow,
        ),
        at(
            "an echo reply without a flow is dropped",
            "eth0",
            out.clone().echo_reply(1),
            Reason::NoFlow,
        ),
        at(
            "an uplink without an address has no source",
            "eth1",
            lost,
            Reason::NoAddress,
        ),
        at(
            "a route through a device that is not an uplink gives no source",
            "lan0",
            segment(SYN),
            Reason::NoUplink,
        ),
        at(
            "an unused source of a network does not leave",
            "eth0",
            unused_source,
            Reason::PrivateSource,
        ),
        at(
            "an ICMP error does not leave with a private source",
            "eth0",
            out.clone().icmp(3, 3, [0; 4]),
            Reason::IcmpErrorUntranslated,
        ),
        at(
            "a packet of an internal network that the stack forwards does not leave",
            "eth0",
            leaving(family, 5, client).udp(1, 2),
            Reason::InternalNetwork,
        ),
    ];
    for (name, number) in [
        ("IP in IP", 4),
        ("GRE", 47),
        ("ESP", 50),
        ("SCTP", 132),
        ("UDP-Lite", 136),
    ] {
        cases.push(at(
            &format!("{name} does not leave with a private source"),
            "eth0",
            out.clone().protocol(number),
            Reason::UnknownProtocol,
        ));
    }
    if !family.is_v4() {
        cases.push(at(
            "neighbour discovery does not leave with a private source",
            "eth0",
            out.icmp(135, 0, [0; 4]),
            Reason::UnknownProtocol,
        ));
    }
    cases
}

fn without_endpoint(family: Family) -> Vec<Case> {
    let remove_endpoint = |prog: &mut netpath_tests::prog::Prog| {
        prog.tables()
            .remove::<EndpointEntry>(&[1])
            .expect("endpoint");
    };
    let request = inbound(family, family.host()).tcp(40_000, 8080, SYN);
    let to_gone = from_sandbox(family, 2, family.sandbox(1)).udp(1, 2);
    vec![
        case(family, "a packet from a removed sandbox is dropped")
            .change(remove_endpoint)
            .then(
                endpoint_sends(1, &from_sandbox(family, 1, family.client()).udp(1, 2))
                    .is(Reason::EndpointGone),
            ),
        case(family, "a packet of a removed sandbox does not leave")
            .change(remove_endpoint)
            .then(
                send(
                    UPLINK_EGRESS,
                    "eth0",
                    &leaving(family, 1, family.client()).udp(1, 2),
                )
                .is(Reason::EndpointGone),
            ),
        case(
            family,
            "the port of a removed sandbox is passed to the host",
        )
        .change(remove_endpoint)
        .then(send(UPLINK_INGRESS, "eth0", &request).is(Reason::NotOurs)),
        case(family, "a sibling that was removed is not reached")
            .change(remove_endpoint)
            .then(endpoint_sends(2, &to_gone).is(Reason::EndpointGone)),
    ]
}
