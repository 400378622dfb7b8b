//! What netpath does otherwise than netfilter, on purpose. Everything else that differs is a defect.

use std::net::IpAddr;

use netpath_tests::packet::{ACK, Decoded, FIN, RST, SYN, number};

use crate::{
    compare::{Difference, Field, Kind},
    sequence::tuple,
    twin::Place,
};

mod flows;
mod packets;

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

/// Every difference that does not fail a test.
pub fn expected() -> impl Iterator<Item = &'static Intended> {
    flows::LIST.iter().chain(packets::LIST)
}

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
    let place = difference.place;
    if let Some((flow, _)) = difference.step().flow {
        let is_on_link = is_on_link(flow.client, flow.server) && is_on_link(flow.client, place);
        return is_on_link && !flow.is_direct();
    }
    let is_direct = !difference.all_sent(|[_, destination]| {
        let v6 = destination.is_ipv6();
        let sandboxes = [Place::One, Place::Two, Place::Three];
        sandboxes
            .iter()
            .all(|sandbox| difference.own(*sandbox, v6) != Some(destination))
    });
    !is_direct && is_on_link(difference.step().from, place)
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

/// Whether netpath delivers a fragment unchanged between sandboxes of one network, of an answer to what came by the node.
fn is_early_fragment_to_sibling(difference: &Difference<'_>) -> bool {
    let Kind::Extra(packet) = &difference.kind else {
        return false;
    };
    let is_early = |sent: &&Decoded| sent.piece.is_some_and(|(offset, _)| offset != 0);
    let is_back = matches!(difference.step().flow, Some((_, false)));
    let as_sent = |sent: &Decoded| sent.addresses == packet.addresses;
    is_back
        && is_hairpin_on_one_link(difference)
        && packet.is_fragment
        && difference.sent.iter().filter(is_early).any(as_sent)
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

/// Whether netpath delivers it like the one before. The first one of a direction has none, and neither has the first one
/// after what a server has sent to a sibling before the sibling has asked.
fn is_tuple_before(difference: &Difference<'_>, packet: &Decoded) -> bool {
    let own = difference.own(difference.step().from, difference.sequence.v6);
    difference
        .tuple_before
        .is_none_or(|before| tuple(packet) == Some(before) || own == Some(before.addresses[0]))
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
