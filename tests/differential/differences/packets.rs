//! Differences in which packets are delivered, and in their fields.

use super::{
    Intended, cut, has_invalid_length, is_early_fragment, is_early_fragment_to_sibling,
    is_hairpin_on_one_link, is_private, is_time_exceeded, network, one_less,
};
use netpath_tests::packet::number;

use crate::{
    compare::Kind,
    pair::{End, Map},
};

/// All entries of this module.
pub const LIST: &[Intended] = &[
    Intended {
        name: "networks are isolated",
        row: "H-6",
        reason: "the netfilter node has no filter rules",
        diverges: true,
        is: |difference| {
            difference.all_sent(|[source, destination]| {
                is_private(source)
                    && is_private(destination)
                    && network(source) != network(destination)
            }) && difference.is_missing()
                && !difference.known
        },
    },
    Intended {
        name: "sandboxes are reached through published ports only",
        row: "H-4",
        reason: "the netfilter node has no filter rules",
        diverges: true,
        is: |difference| {
            difference.step().from == End::Outside
                && difference.all_sent(|[_, destination]| is_private(destination))
                && difference.is_missing()
        },
    },
    Intended {
        name: "a sandbox sends from its own address only",
        row: "G-3",
        reason: "the netfilter node has no filter rules",
        diverges: false,
        is: |difference| {
            let from = difference.step().from;
            let own = [false, true].map(|v6| difference.own(from, v6));
            from != End::Outside
                && difference.all_sent(|[source, _]| !own.contains(&Some(source)))
                && difference.is_missing()
        },
    },
    Intended {
        name: "the outside cannot send from an address of the node or of a sandbox",
        row: "G-3",
        reason: "the netfilter node does not check reverse paths",
        diverges: false,
        is: |difference| {
            let host = [false, true].map(Map::host);
            difference.step().from == End::Outside
                && difference.all_sent(|[source, _]| is_private(source) || host.contains(&source))
                && difference.is_missing()
        },
    },
    Intended {
        name: "other ICMP queries are not translated",
        row: "I-10b, I-10c, I-11",
        reason: "timestamp, address mask and information queries are obsolete",
        diverges: true,
        is: |difference| {
            let kind = difference.sent.first().and_then(|sent| sent.icmp);
            kind.is_some_and(|(kind, _)| matches!(kind, 13 | 15 | 17 | 139))
                && difference.end == End::Outside
                && difference.is_missing()
        },
    },
    Intended {
        name: "source quench is dropped",
        row: "I-10c",
        reason: "RFC 6633 deprecates it",
        diverges: false,
        is: |difference| {
            let sent = difference.sent.first();
            sent.is_some_and(|sent| sent.protocol == number::ICMP && sent.icmp == Some((4, 0)))
                && difference.is_missing()
        },
    },
    Intended {
        name: "an error with a wrong checksum is translated and stays wrong",
        row: "I-3",
        reason: "an incremental update keeps the error, and the receiver drops the packet; netfilter drops it \
                 itself",
        diverges: false,
        is: |difference| match (&difference.kind, difference.sent) {
            (Kind::Extra(packet), [sent]) => {
                let wrong = sent.text("checksum");
                sent.is_icmp_error() && wrong != "correct" && packet.text("checksum") == wrong
            }
            _ => false,
        },
    },
    Intended {
        name: "the checksum in a short quote is updated",
        row: "I-3c",
        reason: "netfilter updates the checksum of a quoted segment only if the whole header is quoted",
        diverges: false,
        is: |difference| {
            difference.is_field("quoted.checksum", |field| {
                field.values[1] == difference.sent[0].text("quoted.checksum")
                    && field.packets[1].text("quoted.tcp.urgent").is_empty()
            })
        },
    },
    Intended {
        name: "no address is added to a record route option",
        row: "N-5",
        reason: "IP options are not changed, so that the route through the node is not revealed",
        diverges: false,
        is: |difference| {
            difference.is_field("ip.options", |field| {
                field.values[1] == difference.sent[0].text("ip.options")
            })
        },
    },
    Intended {
        name: "fragments stay fragments",
        row: "U-14",
        reason: "netfilter reassembles a datagram and sends it in one packet if it fits; netpath forwards each \
                 fragment",
        diverges: false,
        is: |difference| {
            difference.is_field("fragments", |field| {
                field.values[0].is_empty() && field.values[1] == cut(difference.sent)
            })
        },
    },
    Intended {
        name: "fragments get a new identification",
        row: "P-11, N-8",
        reason: "two sandboxes behind one address may use the same identification; netfilter reassembles their \
                 datagrams first",
        diverges: false,
        is: |difference| {
            let came = |id: &str| difference.sent.iter().any(|sent| sent.text("ip.id") == id);
            difference.is_field("ip.id", |field| {
                came(&field.values[0])
                    && (!field.packets[1].text("fragments").is_empty()
                        || field.packets[1].is_fragment)
            }) || difference.is_field("quoted.ip.id", |field| {
                // An error quotes the packet as it arrived.
                field.values[1] == difference.sent[0].text("quoted.ip.id")
            })
        },
    },
    Intended {
        name: "fragments do not wait for the other fragments",
        row: "U-14",
        reason: "netfilter holds an incomplete datagram; netpath forwards a fragment once the first one is known",
        diverges: false,
        is: |difference| difference.known && is_early_fragment(difference),
    },
    Intended {
        name: "an early fragment of a reply to a sibling is also delivered unchanged",
        row: "U-14",
        reason: "it may belong to direct traffic between siblings; a copy is buffered until the first fragment and \
                 translated with it",
        diverges: false,
        is: is_early_fragment_to_sibling,
    },
    Intended {
        name: "a first fragment without its whole transport header is dropped",
        row: "U-14, I-12",
        reason: "its flow cannot be determined, and RFC 1858 requires the drop",
        diverges: false,
        is: |difference| {
            let is_tiny = difference.sent.iter().any(|sent| {
                sent.is_fragment
                    && sent.protocol == number::TCP
                    && sent.tcp_flags.is_none()
                    && sent.fragment.is_some_and(|(offset, _)| offset == 0)
            });
            is_tiny && difference.is_missing()
        },
    },
    Intended {
        name: "a protocol without ports is not translated",
        row: "D-3",
        reason: "netfilter translates only the address, for one sandbox at a time",
        diverges: false,
        is: |difference| {
            let known = [number::ICMP, number::TCP, number::UDP, number::ICMPV6];
            difference
                .sent
                .iter()
                .all(|sent| !known.contains(&sent.protocol))
                && difference.end == End::Outside
                && difference.is_missing()
        },
    },
    Intended {
        name: "a wrong IP header checksum stays wrong",
        row: "G-2",
        reason: "netpath updates the checksum and does not verify it; the receiver drops the packet",
        diverges: false,
        is: |difference| match (&difference.kind, difference.sent) {
            (Kind::Extra(packet), [sent]) => {
                let wrong = sent.text("ip.checksum");
                wrong.starts_with("off") && packet.text("ip.checksum").starts_with("off")
            }
            _ => false,
        },
    },
    Intended {
        name: "padding after a packet is kept",
        row: "G-2",
        reason: "it belongs to the frame, and receivers ignore it",
        diverges: false,
        is: |difference| {
            difference.is_field("length", |field| {
                field.values[1] == difference.sent[0].text("length")
                    && field
                        .packets
                        .iter()
                        .all(|packet| packet.text("complete") == "true")
            })
        },
    },
    Intended {
        name: "a packet with contradictory lengths is translated by the flow's tuple",
        row: "G-2",
        reason: "the lengths stay wrong, and the receiver drops the packet; netfilter assigns it to no flow, and it \
                 leaves untranslated or reaches the node",
        diverges: true,
        is: |difference| {
            difference.known
                && difference.sent.iter().all(has_invalid_length)
                && difference.is_delivered_or_refused_by_netfilter()
        },
    },
    Intended {
        name: "a hairpin with TTL 1 within a network expires at the gateway",
        row: "G-1",
        reason: "netfilter translates it in the bridge, which does not decrement the TTL",
        diverges: false,
        is: |difference| {
            let is_last_hop = difference
                .sent
                .iter()
                .all(|sent| sent.text("ip.ttl").parse::<u8>().is_ok_and(|ttl| ttl <= 1));
            is_last_hop
                && is_hairpin_on_one_link(difference)
                && match &difference.kind {
                    Kind::Missing(_) => true,
                    Kind::Extra(packet) => is_time_exceeded(packet),
                    Kind::Field(_) => false,
                }
        },
    },
    Intended {
        name: "time exceeded for a hairpin has the gateway's address",
        row: "G-1",
        reason: "netfilter replaces the source of the node's error by the destination of the packet",
        diverges: false,
        is: |difference| {
            difference.is_field("ip.source", |field| {
                let gateway = Map::gateway(difference.end, difference.sequence.v6);
                is_time_exceeded(&field.packets[1]) && field.values[1] == gateway.to_string()
            })
        },
    },
    Intended {
        name: "a hairpin within a network is routed by the gateway",
        row: "U-9, G-1",
        reason: "netpath delivers a packet that was sent to the gateway from the gateway, with a lower TTL; a \
                 bridge with netfilter changes neither",
        diverges: false,
        is: |difference| {
            let Kind::Field(field) = &difference.kind else {
                return false;
            };
            is_hairpin_on_one_link(difference)
                && match field.name.as_str() {
                    "ip.ttl" | "quoted.ip.ttl" => one_less(field),
                    "eth.source" => true,
                    _ => false,
                }
        },
    },
];
