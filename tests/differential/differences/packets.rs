//! Differences in which packets are delivered, and in their fields.

use super::{
    Intended, cut, is_contradictory, is_early_fragment, is_early_fragment_to_sibling,
    is_hairpin_on_one_link, is_private, is_time_exceeded, network, one_less,
};
use netpath_tests::packet::number;

use crate::{
    compare::Kind,
    pair::{Map, Place},
};

/// All entries of this module.
pub const LIST: &[Intended] = &[
    Intended {
        name: "networks are isolated",
        row: "H-6",
        reason: "the netfilter node has no rules that filter",
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
        name: "sandboxes cannot be reached past their published ports",
        row: "H-4",
        reason: "the netfilter node has no rules that filter",
        diverges: true,
        is: |difference| {
            difference.step().from == Place::Outside
                && difference.all_sent(|[_, destination]| is_private(destination))
                && difference.is_missing()
        },
    },
    Intended {
        name: "a sandbox sends with its own address only",
        row: "G-3",
        reason: "the netfilter node has no rules that filter",
        diverges: false,
        is: |difference| {
            let from = difference.step().from;
            let own = [false, true].map(|v6| difference.own(from, v6));
            from != Place::Outside
                && difference.all_sent(|[source, _]| !own.contains(&Some(source)))
                && difference.is_missing()
        },
    },
    Intended {
        name: "the outside cannot use an address of the node or of a sandbox",
        row: "G-3",
        reason: "the netfilter node does not check reverse paths",
        diverges: false,
        is: |difference| {
            let host = [false, true].map(Map::host);
            difference.step().from == Place::Outside
                && difference.all_sent(|[source, _]| is_private(source) || host.contains(&source))
                && difference.is_missing()
        },
    },
    Intended {
        name: "other questions of ICMP are not translated",
        row: "I-10b, I-10c, I-11",
        reason: "nobody asks for timestamps, masks and names any more",
        diverges: true,
        is: |difference| {
            let kind = difference.sent.first().and_then(|sent| sent.icmp);
            kind.is_some_and(|(kind, _)| matches!(kind, 13 | 15 | 17 | 139))
                && difference.place == Place::Outside
                && difference.is_missing()
        },
    },
    Intended {
        name: "a router's icmp_error keeps the router's address",
        row: "I-4",
        reason: "netfilter gives it the address of the client if that client's port was exchanged",
        diverges: false,
        is: |difference| {
            difference.is_field("ip.source", |field| {
                let sent = &difference.sent[0];
                sent.is_icmp_error()
                    && field.values[1] == sent.text("ip.source")
                    && field.values[0] == sent.text("quoted.ip.destination")
            })
        },
    },
    Intended {
        name: "source quench is dropped",
        row: "I-10c",
        reason: "RFC 6633 forbids to act on it",
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
        reason: "an incremental update keeps what was wrong, and the receiver drops it; netfilter drops it itself",
        diverges: false,
        is: |difference| match (&difference.kind, difference.sent) {
            (Kind::Extra(packet), [sent]) => {
                let wrong = sent.text("checksum");
                sent.is_icmp_error() && wrong != "right" && packet.text("checksum") == wrong
            }
            _ => false,
        },
    },
    Intended {
        name: "a checksum in a short quote follows the translation",
        row: "I-3c",
        reason: "netfilter updates the checksum of a quoted segment only if its whole header is there",
        diverges: false,
        is: |difference| {
            difference.is_field("quoted.checksum", |field| {
                field.values[1] == difference.sent[0].text("quoted.checksum")
                    && field.packets[1].text("quoted.tcp.urgent").is_empty()
            })
        },
    },
    Intended {
        name: "nobody is entered into recorded routes",
        row: "N-5",
        reason: "the options of a packet stay as they came: a route through the node is not the outside's business",
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
        reason: "netfilter puts packets together and sends them in one fragment if that fits; netpath lets fragments go as they \
                 came, with their ports' translation",
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
        reason: "two sandboxes with one address outside may use the same; netfilter puts their packets together first",
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
        name: "fragments do not wait for the rest of their packet",
        row: "U-14",
        reason: "netfilter holds what is incomplete; netpath lets a fragment go once the first one is known",
        diverges: false,
        is: |difference| difference.known && is_early_fragment(difference),
    },
    Intended {
        name: "an early fragment of an answer to a sibling reaches it as it is too",
        row: "U-14",
        reason: "it may be one sibling's to the other; a copy waits for the first one, and goes its way",
        diverges: false,
        is: is_early_fragment_to_sibling,
    },
    Intended {
        name: "a first fragment without its whole header is dropped",
        row: "U-14, I-12",
        reason: "there is nothing to tell the flow by, and RFC 1858 wants such fragments dropped",
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
        reason: "netfilter translates the address alone, for one sandbox at a time",
        diverges: false,
        is: |difference| {
            let known = [number::ICMP, number::TCP, number::UDP, number::ICMPV6];
            difference
                .sent
                .iter()
                .all(|sent| !known.contains(&sent.protocol))
                && difference.place == Place::Outside
                && difference.is_missing()
        },
    },
    Intended {
        name: "a wrong IP header checksum stays wrong",
        row: "G-2",
        reason: "netpath updates it and does not check it; the receiver drops the packet",
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
        name: "padding behind a packet stays",
        row: "G-2",
        reason: "it belongs to the frame; every receiver ignores it",
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
        name: "headers that contradict each other pass by the flow's tuple",
        row: "G-2",
        reason: "what is wrong stays as wrong, and the receiver drops it; for netfilter it belongs to no flow, and it \
                 leaves with its private source or goes to the node",
        diverges: true,
        is: |difference| {
            difference.known
                && difference.sent.iter().all(is_contradictory)
                && difference.is_delivered_or_refused_by_netfilter()
        },
    },
    Intended {
        name: "a hairpin on one link ends at the gateway if it may go no further",
        row: "G-1",
        reason: "netfilter carries it below the gateway, which does not count it as a hop",
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
        name: "the gateway itself says that a hairpin may go no further",
        row: "G-1",
        reason: "netfilter gives the icmp_error of the node the address that was complained about",
        diverges: false,
        is: |difference| {
            difference.is_field("ip.source", |field| {
                let gateway = Map::gateway(difference.place, difference.sequence.v6);
                is_time_exceeded(&field.packets[1]) && field.values[1] == gateway.to_string()
            })
        },
    },
    Intended {
        name: "a hairpin on one link passes the gateway",
        row: "U-9, G-1",
        reason: "netpath delivers what was sent to the gateway as from the gateway, one hop further; a bridge with \
                 netfilter exchanges the destination below the gateway",
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
