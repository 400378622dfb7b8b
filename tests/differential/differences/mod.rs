//! Intended differences between netpath and netfilter. Every other difference is a defect.

use std::net::IpAddr;

use netpath_tests::packet::{ACK, Decoded, FIN, RST, SYN, number};

use crate::{
    compare::{Difference, Field, Kind},
    pair::End,
    sequence::tuple,
};

mod flows;
mod packets;

/// An intended difference.
pub struct Intended {
    /// A short name.
    pub name: &'static str,
    /// The row of `nat-compliance.md` it follows from.
    pub row: &'static str,
    /// The reason for the difference.
    pub reason: &'static str,
    /// Whether the nodes have different flows afterwards, so that the rest of the flow is not compared.
    pub diverges: bool,
    /// Whether a difference is this one.
    pub is: fn(&Difference<'_>) -> bool,
}

/// Ports that netpath may choose for outbound flows.
const SNAT: std::ops::RangeInclusive<u16> = 1_024..=65_535;
/// Ports in that range that netpath does not choose: published ports, and the ports of tunnels.
const RESERVED: [(u8, [u16; 4]); 2] = [
    (number::TCP, [8_080, 8_081, 8_082, 0]),
    (number::UDP, [8_053, 8_054, 8_055, 4_789]),
];

/// All intended differences.
pub fn expected() -> impl Iterator<Item = &'static Intended> {
    flows::LIST.iter().chain(packets::LIST)
}

/// Whether netpath's value is netfilter's value less one.
fn one_less(field: &Field) -> bool {
    let [netfilter, netpath] = field.values.clone().map(|value| value.parse::<u8>());
    matches!((netfilter, netpath), (Ok(a), Ok(b)) if a == b.wrapping_add(1))
}

/// Whether a sandbox sends a packet through the node to its own network.
fn is_hairpin_on_one_link(difference: &Difference<'_>) -> bool {
    let is_on_link = |from: End, to: End| {
        from != End::Outside && to != End::Outside && (from == End::B1) == (to == End::B1)
    };
    let end = difference.end;
    if let Some((flow, _)) = difference.step().flow {
        let is_on_link = is_on_link(flow.client, flow.server) && is_on_link(flow.client, end);
        return is_on_link && !flow.is_direct();
    }
    let is_direct = !difference.all_sent(|[_, destination]| {
        let v6 = destination.is_ipv6();
        let sandboxes = [End::A1, End::A2, End::B1];
        sandboxes
            .iter()
            .all(|sandbox| difference.own(*sandbox, v6) != Some(destination))
    });
    !is_direct && is_on_link(difference.step().from, end)
}

/// Whether netpath delivers a fragment of an incomplete packet in the flow's direction.
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

/// Whether netpath delivers a fragment of a reply unchanged between sandboxes of one network, whose request passed the
/// node.
fn is_early_fragment_to_sibling(difference: &Difference<'_>) -> bool {
    let Kind::Extra(packet) = &difference.kind else {
        return false;
    };
    let is_early = |sent: &&Decoded| sent.fragment.is_some_and(|(offset, _)| offset != 0);
    let is_back = matches!(difference.step().flow, Some((_, false)));
    let as_sent = |sent: &Decoded| sent.addresses == packet.addresses;
    is_back
        && is_hairpin_on_one_link(difference)
        && packet.is_fragment
        && difference.sent.iter().filter(is_early).any(as_sent)
}

/// The fragments that were sent, in the notation of received fragments.
fn cut(sent: &[Decoded]) -> String {
    let mut fragments: Vec<_> = sent.iter().filter_map(|sent| sent.fragment).collect();
    fragments.sort_unstable();
    fragments.dedup();
    fragments
        .iter()
        .fold(String::new(), |text, (offset, length)| {
            format!("{text}{offset}+{length} ")
        })
}

/// Whether netpath may choose a port for an outbound flow; every echo identifier may be chosen.
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

    /// Whether a condition holds for source and destination of every frame that was sent.
    fn all_sent(&self, holds: impl Fn([IpAddr; 2]) -> bool) -> bool {
        let ends = |sent: &Decoded| match sent.addresses[..] {
            [source, destination, ..] => Some([source, destination]),
            _ => None,
        };
        self.sent.iter().all(|sent| ends(sent).is_some_and(&holds))
    }

    /// The address of a sandbox.
    fn own(&self, end: End, v6: bool) -> Option<IpAddr> {
        (end != End::Outside).then(|| self.map.sandbox(end, v6))
    }

    /// TCP flags of the packet that was sent.
    fn sent_flags(&self) -> Option<u8> {
        self.sent.iter().find_map(|sent| sent.tcp_flags)
    }

    /// Whether only netpath delivers the packet to the flow's other end, or netfilter's node replies
    /// with a reset.
    fn is_delivered_or_refused_by_netfilter(&self) -> bool {
        let Some((flow, forward)) = self.step().flow else {
            return false;
        };
        let receiver = if forward { flow.server } else { flow.client };
        match &self.kind {
            Kind::Extra(_) | Kind::Field(_) => self.end == receiver,
            Kind::Missing(packet) => self.end == receiver || is_reset_by_node(self, packet),
        }
    }
}

/// Whether netpath translates the packet as the previous one of its direction. True if there is no previous one: for
/// the first packet, and after a server has sent to a sibling before the sibling's request.
fn has_previous_tuple(difference: &Difference<'_>, packet: &Decoded) -> bool {
    let own = difference.own(difference.step().from, difference.sequence.v6);
    difference
        .tuple_before
        .is_none_or(|before| tuple(packet) == Some(before) || own == Some(before.addresses[0]))
}

/// Whether the node itself rejects the packet.
fn is_reset_by_node(difference: &Difference<'_>, packet: &Decoded) -> bool {
    let source = packet.addresses.first();
    let replies_to_sent = difference
        .sent
        .iter()
        .any(|sent| sent.addresses.get(1) == source);
    difference.end == difference.step().from
        && replies_to_sent
        && packet.tcp_flags.is_some_and(|flags| flags & RST != 0)
}

fn is_time_exceeded(packet: &Decoded) -> bool {
    matches!(
        (packet.protocol, packet.icmp),
        (number::ICMP, Some((11, 0))) | (number::ICMPV6, Some((3, 0)))
    )
}

/// Whether the length field of a transport header is invalid.
fn has_invalid_length(sent: &Decoded) -> bool {
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

/// Whether netfilter considers a segment with these TCP flags invalid.
fn has_invalid_flags(flags: u8) -> bool {
    let essential = flags & (FIN | SYN | RST | ACK);
    !matches!(flags & 0x37, 0x22 | 0x30 | 0x31)
        && !matches!(essential | flags & 0x20, SYN | RST | ACK)
        && ![SYN | ACK, RST | ACK, FIN | ACK].contains(&(essential | flags & 0x20))
}

/// Whether it is the address of a sandbox or gateway.
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private(),
        IpAddr::V6(address) => address.is_unique_local(),
    }
}

/// The part of an address that identifies the network.
fn network(address: IpAddr) -> u16 {
    match address {
        IpAddr::V4(address) => address.octets()[1].into(),
        IpAddr::V6(address) => address.segments()[1],
    }
}
