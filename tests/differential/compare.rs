//! Compares the packets that both nodes deliver for the same sequence, field by field.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::IpAddr,
};

use netpath_tests::packet::{Decoded, Value, decode, fragments::Assembled};

use crate::{
    pair::{End, Map, TestNode},
    sequence::{Arrivals, Sequence, Step, Tuple, View, tuple},
};

/// One step on one node.
#[derive(Clone, Debug)]
pub struct StepResult {
    /// The frames that were sent.
    pub sent: Vec<Vec<u8>>,
    /// The packets that arrived.
    pub arrived: Vec<(End, Assembled)>,
}

/// Runs a sequence on a node.
pub fn execute(
    node: &mut TestNode,
    map: &Map,
    sequence: &Sequence,
    serial: u16,
) -> Vec<StepResult> {
    let mut arrivals = Arrivals::default();
    let mut results = Vec::new();
    for step in &sequence.steps {
        let sent = (step.make)(&View {
            map,
            v6: sequence.v6,
            serial,
            arrived: &arrivals,
        });
        let arrived = node.exchange(step.from, &sent);
        if let (Some((flow, forward)), true) = (step.flow, step.carries) {
            let receiver = if forward { flow.server } else { flow.client };
            let protocol = flow.protocol.number(sequence.v6);
            let found = arrived.iter().filter(|(end, _)| *end == receiver);
            for (_, packet) in found {
                let decoded = decode(&packet.frame);
                // netpath may deliver a fragment of an incomplete packet; netfilter does not.
                if decoded.protocol == protocol
                    && !decoded.is_fragment
                    && !decoded.is_icmp_error()
                    && let Some(tuple) = tuple(&decoded)
                {
                    arrivals.tuples.insert((flow.id, forward), tuple);
                    arrivals
                        .packets
                        .insert((flow.id, forward), packet.frame.clone());
                }
            }
        }
        results.push(StepResult { sent, arrived });
    }
    results
}

/// The kind of a difference.
#[derive(Clone, Debug)]
pub enum Kind {
    /// Only netfilter delivers the packet.
    Missing(Decoded),
    /// Only netpath delivers the packet.
    Extra(Decoded),
    /// A field differs.
    Field(Box<Field>),
}

/// A field that differs.
#[derive(Clone, Debug)]
pub struct Field {
    /// The name of the field.
    pub name: String,
    /// Netfilter's value, then netpath's.
    pub values: [String; 2],
    /// Both values, if they are ports that a node may choose, and each node has kept its choice so far.
    pub ports: Option<[u16; 2]>,
    /// The protocol of the port.
    pub protocol: Option<u8>,
    /// The packets.
    pub packets: [Decoded; 2],
}

/// A difference, and where it occurs.
pub struct Difference<'a> {
    /// The sequence.
    pub sequence: &'a Sequence,
    /// Index of the step in the sequence.
    pub number: usize,
    /// The frames that were sent through netpath.
    pub sent: &'a [Decoded],
    /// Ports that were sent from or to on both nodes.
    pub sent_ports: &'a BTreeSet<u16>,
    /// The addresses of the nodes.
    pub map: &'a Map,
    /// Whether netpath has delivered a packet of the flow's client in an earlier step.
    pub known: bool,
    /// The previous packet of the same direction, as netpath delivered it.
    pub tuple_before: Option<Tuple>,
    /// The receiver, or the expected receiver.
    pub end: End,
    /// The difference.
    pub kind: Kind,
}

impl Difference<'_> {
    /// Both values, if they are ports that a node may choose.
    pub fn ports(&self) -> Option<[u16; 2]> {
        match &self.kind {
            Kind::Field(field) => field.ports,
            _ => None,
        }
    }

    /// The step.
    pub fn step(&self) -> &Step {
        &self.sequence.steps[self.number]
    }
}

impl fmt::Display for Difference<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "  {}, step {} of {}, from {:?}, at {:?}",
            self.sequence.name,
            self.number + 1,
            self.sequence.steps.len(),
            self.step().from,
            self.end
        )?;
        for sent in self.sent {
            writeln!(f, "    sent:      {}", sent.line())?;
        }
        let [netfilter, netpath] = match &self.kind {
            Kind::Missing(packet) => [packet.line(), "nothing".to_owned()],
            Kind::Extra(packet) => ["nothing".to_owned(), packet.line()],
            Kind::Field(field) => {
                let [netfilter, netpath] = &field.values;
                writeln!(
                    f,
                    "    {}: netfilter {netfilter}, netpath {netpath}",
                    field.name
                )?;
                [field.packets[0].line(), field.packets[1].line()]
            }
        };
        writeln!(f, "    netfilter: {netfilter}\n    netpath:   {netpath}")
    }
}

/// The context of a port; see [`Value::Port`].
type Around = ([IpAddr; 2], u16);

/// The port of netpath that corresponds to each port of netfilter, during a sequence.
#[derive(Default)]
struct Ports {
    netpath: BTreeMap<(u8, Around, u16), u16>,
    netfilter: BTreeMap<(u8, Around, u16), u16>,
}

/// The result of comparing two ports.
enum Match {
    Same,
    /// They differ for the first time.
    New,
    /// One node did not keep its choice.
    Broken,
}

impl Ports {
    fn compare(&mut self, (protocol, around): (u8, Around), [a, b]: [u16; 2]) -> Match {
        let known = self.netpath.get(&(protocol, around, a)).copied();
        let back = self.netfilter.get(&(protocol, around, b)).copied();
        if a == b {
            // Other packets may contain the same port, such as a packet that is quoted unchanged.
            return if known.is_none() {
                Match::Same
            } else {
                Match::Broken
            };
        }
        match (known, back) {
            (None, None) => {
                self.netpath.insert((protocol, around, a), b);
                self.netfilter.insert((protocol, around, b), a);
                Match::New
            }
            (Some(known), Some(back)) if known == b && back == a => Match::Same,
            _ => Match::Broken,
        }
    }
}

/// Compares the results of both nodes; calls `found` with every difference, in order.
pub fn compare(
    map: &Map,
    sequence: &Sequence,
    netfilter: &[StepResult],
    netpath: &[StepResult],
    mut found: impl FnMut(Difference<'_>),
) {
    let mut ports = Ports::default();
    let mut sent_ports = BTreeSet::new();
    let mut sent_marks = BTreeSet::new();
    let mut known_flows: BTreeMap<(u16, bool), Tuple> = BTreeMap::new();
    for (number, (left, right)) in netfilter.iter().zip(netpath).enumerate() {
        for (one, other) in left.sent.iter().zip(&right.sent) {
            let [one, other] = [one, other].map(|frame| decode(frame));
            for decoded in [&one, &other] {
                sent_marks.extend(["ip.id", "ip.label"].map(|name| decoded.text(name)));
            }
            // A port that a node has chosen is also a destination port, but no host has requested it.
            let common = one.ports.iter().filter(|port| other.ports.contains(port));
            sent_ports.extend(common.copied());
        }
        let sent: Vec<Decoded> = right.sent.iter().map(|frame| decode(frame)).collect();
        let step = &sequence.steps[number];
        let direction = step.flow.map(|(flow, forward)| (flow.id, forward));
        let tuple_before = direction.and_then(|direction| known_flows.get(&direction).copied());
        let known = direction.is_some_and(|(flow, _)| known_flows.contains_key(&(flow, true)));
        let mut report = |end, kind| {
            found(Difference {
                sequence,
                map,
                known,
                tuple_before,
                number,
                sent: &sent,
                sent_ports: &sent_ports,
                end,
                kind,
            });
        };
        for end in End::ALL {
            let at = |result: &StepResult| -> Vec<Decoded> {
                let here = result.arrived.iter().filter(|(found, _)| *found == end);
                here.map(|(_, packet)| describe(packet)).collect()
            };
            let (left, mut right) = (at(left), at(right));
            for packet in left {
                match partner(&packet, &right) {
                    Some(index) => {
                        let other = right.remove(index);
                        let is_own =
                            packet.is_icmp_error() && !sent.iter().any(Decoded::is_icmp_error);
                        let marks = (!is_own).then_some(&sent_marks);
                        for field in fields(&packet, &other, &mut ports, marks) {
                            report(end, Kind::Field(Box::new(field)));
                        }
                    }
                    None => report(end, Kind::Missing(packet)),
                }
            }
            for packet in right {
                report(end, Kind::Extra(packet));
            }
        }
        if let (Some((flow, forward)), true) = (step.flow, step.carries) {
            let receiver = if forward { flow.server } else { flow.client };
            let mut here = right.arrived.iter().filter(|(end, _)| *end == receiver);
            if let Some(tuple) = here.find_map(|(_, packet)| tuple(&decode(&packet.frame))) {
                known_flows.insert((flow.id, forward), tuple);
            }
        }
    }
}

fn describe(packet: &Assembled) -> Decoded {
    let mut decoded = decode(&packet.frame);
    let fragments = Value::Text(packet.fragments.clone());
    decoded.fields.push(("fragments".to_owned(), fragments));
    decoded
}

/// The packet of the same protocol with the fewest differences.
fn partner(packet: &Decoded, others: &[Decoded]) -> Option<usize> {
    let likeness = |other: &Decoded| {
        let same = packet
            .fields
            .iter()
            .filter(|field| other.fields.contains(field));
        same.count()
    };
    let candidates = others.iter().enumerate().filter(|(_, other)| {
        other.protocol == packet.protocol
            && other.text("tcp.sequence") == packet.text("tcp.sequence")
            && other.addresses.first().map(IpAddr::is_ipv4)
                == packet.addresses.first().map(IpAddr::is_ipv4)
    });
    // Among equals, the first one: links keep the order of packets.
    let best = candidates.rev().max_by_key(|(_, other)| likeness(other));
    best.map(|(index, _)| index)
}

/// The fields in which two packets differ.
fn fields(
    left: &Decoded,
    right: &Decoded,
    ports: &mut Ports,
    sent_marks: Option<&BTreeSet<String>>,
) -> Vec<Field> {
    let mut found = Vec::new();
    let mut differ = |name: &str, values: [String; 2], ports, protocol| {
        found.push(Field {
            protocol,
            name: name.to_owned(),
            values,
            ports,
            packets: [left.clone(), right.clone()],
        });
    };
    let names: Vec<&String> = left.fields.iter().map(|(name, _)| name).collect();
    let further = right.fields.iter().map(|(name, _)| name);
    let further: Vec<&String> = further.filter(|name| !names.contains(name)).collect();
    for name in names.into_iter().chain(further) {
        let value = |packet: &Decoded| {
            let found = packet.fields.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.clone())
        };
        match (value(left), value(right)) {
            (Some(Value::Port(protocol, around, a)), Some(Value::Port(_, other, b))) => {
                let texts = [a, b].map(|port| port.to_string());
                if around.0 != other.0 {
                    // Addresses are compared separately.
                    if a != b {
                        differ(name, texts, None, Some(protocol));
                    }
                    continue;
                }
                match ports.compare((protocol, around), [a, b]) {
                    Match::Same => {}
                    Match::New => differ(name, texts, Some([a, b]), Some(protocol)),
                    Match::Broken => differ(name, texts, None, Some(protocol)),
                }
            }
            (a, b) if a == b => {}
            (a, b) => {
                let texts =
                    [a, b].map(|value| value.map_or("absent".to_owned(), |v| v.to_string()));
                // A packet from the node itself has an arbitrary identification and flow label.
                if matches!(name.as_str(), "ip.id" | "ip.label")
                    && texts
                        .iter()
                        .all(|mark| sent_marks.is_none_or(|marks| !marks.contains(mark)))
                {
                    continue;
                }
                differ(name, texts, None, None);
            }
        }
    }
    found
}
