//! What netpath does otherwise than netfilter, on purpose. Everything else that differs is a defect.

use std::net::IpAddr;

use netpath_tests::packet::{ACK, FIN, RST, SYN};

use crate::{
    compare::{Difference, Field, Kind},
    decode::{Decoded, number},
    sequence::{Group, Protocol, tuple},
    twin::{Map, Place},
};

/// A difference that is meant to be.
pub struct Intended {
    /// A short name.
    pub name: &'static str,
    /// The row of the requirements it follows from.
    pub row: &'static str,
    /// Why netpath differs.
    pub reason: &'static str,
    /// Whether the twins have different flows from then on, so that the rest of the flow tells nothing.
    pub diverges: bool,
    /// Whether a difference is this one.
    pub is: fn(&Difference<'_>) -> bool,
}

/// Ports that netpath may give to outbound flows; see `snat_ports` of the daemon.
const SNAT: std::ops::RangeInclusive<u16> = 1_024..=32_767;
/// Ports in that range that it leaves to others: those that are published, and that of tunnels.
const RESERVED: [(u8, [u16; 4]); 2] = [
    (number::TCP, [8_080, 8_081, 8_082, 0]),
    (number::UDP, [8_053, 8_054, 8_055, 4_789]),
];

/// All of them.
pub const INTENDED: &[Intended] = &[
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
                && difference.is_field("source port", |field| {
                    field.ports.is_some_and(|[netfilter, netpath]| {
                        difference.sent_ports.contains(&netfilter) && may_keep(difference, netpath)
                    })
                })
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
        name: "networks are isolated",
        row: "H-6",
        reason: "the netfilter twin has no rules that filter",
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
        reason: "the netfilter twin has no rules that filter",
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
        reason: "the netfilter twin has no rules that filter",
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
        reason: "the netfilter twin does not check reverse paths",
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
        name: "a router's complaint keeps the router's address",
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
        reason: "netfilter puts packets together and sends them in one piece if that fits; netpath lets pieces go as they \
                 came, with their ports' translation",
        diverges: false,
        is: |difference| {
            difference.is_field("pieces", |field| {
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
                    && (!field.packets[1].text("pieces").is_empty() || field.packets[1].is_fragment)
            }) || difference.is_field("quoted.ip.id", |field| {
                // What is quoted is what has arrived.
                field.values[1] == difference.sent[0].text("quoted.ip.id")
            })
        },
    },
    Intended {
        name: "fragments do not wait for the rest of their packet",
        row: "U-14",
        reason: "netfilter holds what is incomplete; netpath lets a piece go once the first one is known",
        diverges: false,
        is: |difference| difference.known && is_early_fragment(difference),
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
                    && sent.piece.is_some_and(|(offset, _)| offset == 0)
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
        reason: "netfilter gives the complaint of the node the address that was complained about",
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

/// What netpath ought to do as netfilter does, and does not yet.
pub const SHORTCOMINGS: &[Intended] = &[
    Intended {
        name: "fragments of an answer of a hairpin are lost if its first one is late",
        row: "U-14",
        reason: "a later fragment is addressed to a sandbox, and is carried or refused as one to that sandbox itself",
        diverges: true,
        is: |difference| {
            let is_hairpin_back = matches!(difference.step().flow, Some((flow, false))
                if flow.server != Place::Outside && flow.client != Place::Outside);
            let is_late = difference
                .sent
                .first()
                .is_some_and(|sent| sent.piece.is_some_and(|(offset, _)| offset != 0));
            is_hairpin_back && is_late
        },
    },
    Intended {
        name: "a transport header is found behind the end of its packet",
        row: "G-2",
        reason: "the length of the frame is looked at, not that of the packet in it",
        diverges: true,
        is: |difference| {
            let is_short = |sent: &Decoded| {
                let header = if sent.protocol == number::TCP { 20 } else { 8 };
                sent.transport_length < header
            };
            difference.sequence.group == Group::Malformed
                && difference.sent.iter().all(is_short)
                && !difference.is_missing()
        },
    },
];

/// Whether netpath's value is netfilter's less one.
fn one_less(field: &Field) -> bool {
    let [netfilter, netpath] = field.values.clone().map(|value| value.parse::<u8>());
    matches!((netfilter, netpath), (Ok(a), Ok(b)) if a == b.wrapping_add(1))
}

/// Whether a sandbox has sent something to the node that goes to one of its own network.
fn is_hairpin_on_one_link(difference: &Difference<'_>) -> bool {
    let is_on_link = |from: Place, to: Place| {
        from != Place::Outside
            && to != Place::Outside
            && (from == Place::Three) == (to == Place::Three)
    };
    let is_direct = match difference.step().flow {
        Some((flow, _)) => flow.is_direct(),
        None => !difference.all_sent(|[_, destination]| {
            let v6 = destination.is_ipv6();
            let sandboxes = [Place::One, Place::Two, Place::Three];
            sandboxes
                .iter()
                .all(|place| difference.own(*place, v6) != Some(destination))
        }),
    };
    !is_direct && is_on_link(difference.step().from, difference.place)
}

/// Whether netpath delivers a fragment, from where the flow's packets come, of a packet that is not complete.
fn is_early_fragment(difference: &Difference<'_>) -> bool {
    let Kind::Extra(packet) = &difference.kind else {
        return false;
    };
    let is_from_peer = match difference.tuple_before {
        Some(before) => packet.addresses.first() == Some(&before.addresses[0]),
        None => true,
    };
    packet.is_fragment && is_from_peer && difference.sent.iter().all(|sent| sent.is_fragment)
}

/// How what was sent is cut, as the pieces of what arrives are shown.
fn cut(sent: &[Decoded]) -> String {
    let mut pieces: Vec<_> = sent.iter().filter_map(|sent| sent.piece).collect();
    pieces.sort_unstable();
    pieces.dedup();
    pieces.iter().fold(String::new(), |text, (offset, length)| {
        format!("{text}{offset}+{length} ")
    })
}

/// Whether netpath may give a port to an outbound flow; it may give any identifier to an echo.
fn may_keep(difference: &Difference<'_>, port: u16) -> bool {
    let protocol = match &difference.kind {
        Kind::Field(field) => field.protocol,
        _ => None,
    };
    let is_reserved = |(of, ports): &(u8, [u16; 4])| Some(*of) == protocol && ports.contains(&port);
    let is_echo = matches!(protocol, Some(number::ICMP | number::ICMPV6));
    is_echo || SNAT.contains(&port) && !RESERVED.iter().any(is_reserved)
}

impl Difference<'_> {
    fn is_missing(&self) -> bool {
        matches!(self.kind, Kind::Missing(_))
    }

    fn is_field(&self, name: &str, is: impl FnOnce(&Field) -> bool) -> bool {
        matches!(&self.kind, Kind::Field(field) if field.name == name && is(field))
    }

    /// Whether something holds for the source and destination of every frame that was sent.
    fn all_sent(&self, holds: impl Fn([IpAddr; 2]) -> bool) -> bool {
        let ends = |sent: &Decoded| match sent.addresses[..] {
            [source, destination, ..] => Some([source, destination]),
            _ => None,
        };
        self.sent.iter().all(|sent| ends(sent).is_some_and(&holds))
    }

    /// The address of a sandbox.
    fn own(&self, place: Place, v6: bool) -> Option<IpAddr> {
        (place != Place::Outside).then(|| self.map.sandbox(place, v6))
    }

    /// TCP flags of what was sent.
    fn sent_flags(&self) -> Option<u8> {
        self.sent.iter().find_map(|sent| sent.tcp_flags)
    }

    /// Whether netpath alone delivers the packet to the other end of its flow, or as its only one; or netfilter's node
    /// answers it with a reset.
    fn is_delivered_or_refused_by_netfilter(&self) -> bool {
        let Some((flow, forward)) = self.step().flow else {
            return false;
        };
        let receiver = if forward { flow.server } else { flow.client };
        match &self.kind {
            Kind::Extra(_) | Kind::Field(_) => self.place == receiver,
            Kind::Missing(packet) => self.place == receiver || is_reset_by_node(self, packet),
        }
    }
}

/// Whether netpath delivers it like the one before; the first one of a direction has none.
fn is_tuple_before(difference: &Difference<'_>, packet: &Decoded) -> bool {
    difference
        .tuple_before
        .is_none_or(|before| tuple(packet) == Some(before))
}

/// Whether the node itself refuses what was sent.
fn is_reset_by_node(difference: &Difference<'_>, packet: &Decoded) -> bool {
    let source = packet.addresses.first();
    let answered = difference
        .sent
        .iter()
        .any(|sent| sent.addresses.get(1) == source);
    difference.place == difference.step().from
        && answered
        && packet.tcp_flags.is_some_and(|flags| flags & RST != 0)
}

fn is_time_exceeded(packet: &Decoded) -> bool {
    matches!(
        (packet.protocol, packet.icmp),
        (number::ICMP, Some((11, 0))) | (number::ICMPV6, Some((3, 0)))
    )
}

/// Whether a transport header says something about its length that cannot be.
fn is_contradictory(sent: &Decoded) -> bool {
    let number = |name: &str| {
        let text = sent.text(name);
        let digits = text.strip_prefix("0x");
        digits.map_or(text.parse().ok(), |digits| {
            usize::from_str_radix(digits, 16).ok()
        })
    };
    if let Some(offset) = number("tcp.offset") {
        let header = (offset >> 4) * 4;
        let is_whole = sent.transport_length >= 20;
        return is_whole && (header < 20 || header > sent.transport_length);
    }
    let is_whole = sent.transport_length >= 8;
    is_whole && number("udp.length").is_some_and(|length| length != sent.transport_length)
}

/// Whether netfilter calls these flags invalid.
fn is_senseless(flags: u8) -> bool {
    let essential = flags & (FIN | SYN | RST | ACK);
    !matches!(flags & 0x37, 0x22 | 0x30 | 0x31)
        && !matches!(essential | flags & 0x20, SYN | RST | ACK)
        && ![SYN | ACK, RST | ACK, FIN | ACK].contains(&(essential | flags & 0x20))
}

/// Whether it is an address of a sandbox or of a gateway.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// What tells the networks of the twins apart.
fn network(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => address.octets()[1].into(),
        IpAddr::V6(address) => address.segments()[1],
    }
}
