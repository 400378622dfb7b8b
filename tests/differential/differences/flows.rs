//! Differences in which flows exist, and in their ports.

use netpath_tests::packet::{ACK, FIN, RST, SYN, number};

use crate::{compare::Kind, pair::End, sequence::Group};

use super::{
    Intended, has_invalid_flags, has_previous_tuple, is_early_fragment, is_private,
    is_reset_by_node, may_keep,
};

/// All entries of this module.
pub const LIST: &[Intended] = &[
    Intended {
        name: "a source port outside netpath's range is replaced",
        row: "R-3, U-3a",
        reason: "netfilter keeps any source port, so that a sandbox can take over a port of the node",
        diverges: false,
        is: |difference| {
            difference.ports().is_some_and(|[netfilter, netpath]| {
                !may_keep(difference, netfilter)
                    && difference.sent_ports.contains(&netfilter)
                    && may_keep(difference, netpath)
            })
        },
    },
    Intended {
        name: "a sandbox sends from the port that it has published itself",
        row: "R-3",
        reason: "the peer reaches the sandbox at the port from which it sends; netfilter keeps the inner port",
        diverges: true,
        is: |difference| {
            let is_udp = matches!(&difference.kind, Kind::Field(field) if field.protocol == Some(number::UDP));
            difference.ports().is_some_and(|[_, netpath]| {
                [End::A1, End::A2, End::B1].iter().any(|end| {
                    let (outer, inner) = end.published(is_udp);
                    netpath == outer && difference.sent_ports.contains(&inner)
                })
            })
        },
    },
    Intended {
        name: "each node chooses its own port when two flows use the same one",
        row: "U-3, R-1",
        reason: "both nodes choose a random port",
        diverges: false,
        is: |difference| {
            difference.ports().is_some_and(|ports| {
                ports
                    .iter()
                    .all(|port| !difference.sent_ports.contains(port))
            })
        },
    },
    Intended {
        name: "only netfilter replaces the port",
        row: "U-1, R-2",
        reason: "netfilter keeps flows of the node itself, and one mapping per port for every peer, in one table \
                 with translated flows",
        diverges: false,
        is: |difference| {
            difference.ports().is_some_and(|[netfilter, netpath]| {
                !difference.sent_ports.contains(&netfilter)
                    && difference.sent_ports.contains(&netpath)
                    && (may_keep(difference, netpath) || difference.end != End::Outside)
            })
        },
    },
    Intended {
        name: "a private source does not leave the node",
        row: "G-3, T-13, D-3",
        reason: "netfilter passes invalid packets without translation; netpath drops packets without a flow",
        diverges: true,
        is: |difference| {
            difference.end == End::Outside
                && matches!(&difference.kind, Kind::Missing(packet) if packet.addresses.first().is_some_and(|source| is_private(*source)))
        },
    },
    Intended {
        name: "invalid TCP flags are translated by the flow's tuple",
        row: "T-2",
        reason: "netpath uses flags for timers only; netfilter assigns such a segment to no flow, and the segment \
                 leaves untranslated or reaches the node",
        diverges: true,
        is: |difference| {
            difference.known
                && difference.sent_flags().is_some_and(has_invalid_flags)
                && difference.is_delivered_or_refused_by_netfilter()
        },
    },
    Intended {
        name: "a SYN in the reply direction passes",
        row: "T-2a, T-12",
        reason: "netpath does not distinguish it from a simultaneous open, and both ends have sent to each other; \
                 netfilter removes the flow or drops the SYN",
        diverges: true,
        is: |difference| {
            let is_back = matches!(difference.step().flow, Some((_, false)));
            difference.known
                && is_back
                && difference
                    .sent_flags()
                    .is_some_and(|flags| flags & (SYN | ACK) == SYN)
                && difference.is_delivered_or_refused_by_netfilter()
        },
    },
    Intended {
        name: "a segment is translated by its flow's tuple in every state",
        row: "T-2, P-3",
        reason: "netpath forwards by tuple; netfilter passes a segment that does not match its state to the node, \
                 or sends it with a private source",
        diverges: true,
        is: |difference| {
            let is_as_before = match &difference.kind {
                Kind::Extra(packet) => has_previous_tuple(difference, packet),
                Kind::Field(field) => has_previous_tuple(difference, &field.packets[1]),
                Kind::Missing(_) => true,
            };
            difference.sequence.group == Group::Random
                && (difference.known || difference.tuple_before.is_some())
                && difference.sent_flags().is_some()
                && is_as_before
                && difference.is_delivered_or_refused_by_netfilter()
        },
    },
    Intended {
        name: "a reset removes no flow, so that errors are still translated",
        row: "P-3, T-10",
        reason: "netfilter removes a connection that is reset before it is established",
        diverges: true,
        is: |difference| {
            let is_about_tcp = difference
                .sent
                .iter()
                .all(|sent| sent.is_icmp_error() && sent.text("quoted.ip.protocol") == "6");
            difference.sequence.group == Group::Random
                && difference.known
                && is_about_tcp
                && !difference.is_missing()
                && difference.is_delivered_or_refused_by_netfilter()
        },
    },
    Intended {
        name: "no flow is created in the middle of a connection",
        row: "T-13",
        reason: "netfilter creates a mapping for a segment without a flow; netpath drops it, or passes it to the \
                 node, which answers with a reset",
        diverges: true,
        is: |difference| {
            let is_middle = difference
                .sent_flags()
                .is_some_and(|flags| flags & (SYN | RST | FIN) == 0);
            !difference.known
                && is_middle
                && match &difference.kind {
                    Kind::Missing(_) => true,
                    Kind::Extra(packet) => is_reset_by_node(difference, packet),
                    Kind::Field(_) => false,
                }
        },
    },
    Intended {
        name: "the first fragment opens a flow",
        row: "U-14",
        reason: "netpath does not wait for the other fragments",
        diverges: true,
        is: |difference| !difference.known && is_early_fragment(difference),
    },
    Intended {
        name: "only the flow's sandbox receives packets to the flow's port",
        row: "R-3, P-3",
        reason: "netfilter lets an outbound flow keep a published port, and removes a flow that is reset early: \
                 later packets then reach another sandbox or the node",
        diverges: true,
        is: |difference| {
            matches!(difference.step().flow, Some((flow, false)) if flow.server == End::Outside
                && flow.client != difference.end)
                && difference.end != End::Outside
                && difference.known
                && difference.is_missing()
        },
    },
];
