//! Differences in which flows exist, and in their ports.

use netpath_tests::packet::{ACK, FIN, RST, SYN};

use crate::{
    compare::Kind,
    pair::Place,
    sequence::{Group, Protocol},
};

use super::{
    Intended, is_early_fragment, is_private, is_reset_by_node, is_senseless, is_tuple_before,
    may_keep,
};

/// All entries of this module.
pub const LIST: &[Intended] = &[
    Intended {
        name: "a source port that is not netpath's to use is exchanged",
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
        name: "each chooses a port of its own where two flows want the same",
        row: "U-3, R-1",
        reason: "the choice is random on both sides",
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
        name: "a client's port gives way to a flow that its server has begun",
        row: "R-3, H-2",
        reason: "a published port is not given to what its sandbox sends by itself, so both are flows of their own, and the \
                 sandbox must be able to tell them apart",
        diverges: true,
        is: |difference| {
            let Some((flow, true)) = difference.step().flow else {
                return false;
            };
            let (outer, inner) = flow.server.published(flow.protocol == Protocol::Udp);
            let earlier = &difference.sequence.steps[..difference.number];
            let has_spoken = earlier.iter().any(|step| {
                step.flow
                    .is_some_and(|(other, forward)| other.id == flow.id && !forward)
            });
            outer == inner
                && flow.server == difference.place
                && has_spoken
                && match &difference.kind {
                    Kind::Field(field) => field.ports.is_some_and(|[netfilter, netpath]| {
                        field.name == "source port"
                            && difference.sent_ports.contains(&netfilter)
                            && may_keep(difference, netpath)
                    }),
                    // Netfilter takes it for a reply to the server's own packet.
                    Kind::Missing(_) => {
                        !difference.known
                            && difference
                                .sent_flags()
                                .is_some_and(|flags| flags & (SYN | ACK) != SYN)
                    }
                    Kind::Extra(_) => false,
                }
        },
    },
    Intended {
        name: "only netfilter looks for another port",
        row: "U-1, R-2",
        reason: "netfilter keeps flows of the node's own, and one mapping of a port for every peer, in one table with \
                 those of sandboxes; netpath keeps a port wherever it may",
        diverges: false,
        is: |difference| {
            difference.ports().is_some_and(|[netfilter, netpath]| {
                !difference.sent_ports.contains(&netfilter)
                    && difference.sent_ports.contains(&netpath)
                    && (may_keep(difference, netpath) || difference.place != Place::Outside)
            })
        },
    },
    Intended {
        name: "a private source does not leave the node",
        row: "G-3, T-13, D-3",
        reason: "netfilter lets what it calls invalid pass without translation; netpath drops what has no flow",
        diverges: true,
        is: |difference| {
            difference.place == Place::Outside
                && matches!(&difference.kind, Kind::Missing(packet) if packet.addresses.first().is_some_and(|source| is_private(*source)))
        },
    },
    Intended {
        name: "flags that make no sense pass by the flow's tuple",
        row: "T-2",
        reason: "netpath uses flags for timers only; for netfilter such a segment belongs to no flow, and it leaves \
                 with its private source or goes to the node",
        diverges: true,
        is: |difference| {
            difference.known
                && difference.sent_flags().is_some_and(is_senseless)
                && difference.is_delivered_or_refused_by_netfilter()
        },
    },
    Intended {
        name: "a SYN against the direction of a flow passes",
        row: "T-2a, T-12",
        reason: "netpath cannot tell it from a simultaneous open, and both ends have invited each other; netfilter forgets \
                 a flow that is over, and hands a SYN in a live one to the node",
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
        name: "a segment passes by its flow's tuple, whatever the state",
        row: "T-2, P-3",
        reason: "netpath forwards by tuple; netfilter hands what does not fit its state to the node, or lets it leave with \
                 its private source",
        diverges: true,
        is: |difference| {
            let is_as_before = match &difference.kind {
                Kind::Extra(packet) => is_tuple_before(difference, packet),
                Kind::Field(field) => is_tuple_before(difference, &field.packets[1]),
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
        name: "a reset ends nothing, so errors are still translated",
        row: "P-3, T-10",
        reason: "netfilter forgets a connection that is reset before it is open",
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
        name: "no flow begins in its middle",
        row: "T-13",
        reason: "netfilter invents a mapping for a segment without a flow; for netpath it belongs to nobody, and the node \
                 refuses what was sent to it",
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
        reason: "it does not wait for the rest of its packet either",
        diverges: true,
        is: |difference| !difference.known && is_early_fragment(difference),
    },
    Intended {
        name: "nobody else gets what was sent to a flow's port",
        row: "R-3, P-3",
        reason: "netfilter lets an outbound flow keep a published port, and forgets a flow that is reset early: what comes \
                 late goes to whoever publishes the port",
        diverges: true,
        is: |difference| {
            matches!(difference.step().flow, Some((flow, false)) if flow.server == Place::Outside
                && flow.client != difference.place)
                && difference.place != Place::Outside
                && difference.known
                && difference.is_missing()
        },
    },
];
