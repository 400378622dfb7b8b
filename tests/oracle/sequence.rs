//! A sequence as data: who sends what, one step after the other, with placeholders for what only a run can tell.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpath_tests::packet::{ACK, Packet};

use crate::{
    decode::{Decoded, number},
    fragments,
    twin::{Map, Place},
};

/// Which test a sequence belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Walks through the states of TCP.
    Tcp,
    /// Datagrams.
    Udp,
    /// Echo requests and replies.
    Echo,
    /// ICMP errors.
    IcmpErrors,
    /// Fragments.
    Fragments,
    /// What the IP header says: TTL, type of service, options, protocol.
    Headers,
    /// What nobody should send.
    Malformed,
    /// Who may reach whom.
    Filtering,
    /// Made by chance.
    Random,
}

/// What a flow is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo requests.
    Echo,
}

impl Protocol {
    /// Its number in a family.
    pub const fn number(self, v6: bool) -> u8 {
        match self {
            Self::Tcp => number::TCP,
            Self::Udp => number::UDP,
            Self::Echo if v6 => number::ICMPV6,
            Self::Echo => number::ICMP,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "echo",
        }
    }
}

/// Somebody beyond the uplink; every sequence has its own, so that no sequence meets the flows of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// The peer of most flows.
    Peer,
    /// Another one.
    Second,
    /// A router on the way, which only complains.
    Router,
}

/// Two ends that talk. The client knows the address and the port it sends to; the server answers what it has received.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Distinguishes the flows of a sequence.
    pub id: u16,
    /// What it is made of.
    pub protocol: Protocol,
    /// Who sends first.
    pub client: Place,
    /// Who answers.
    pub server: Place,
    /// Which host the outside is.
    pub remote: Remote,
    /// The client's port or identifier, if it is not one that only this flow has.
    sport: Option<u16>,
    /// The port that the client sends to, if it is not the usual one.
    dport: Option<u16>,
    direct: bool,
}

impl Flow {
    /// From a sandbox to the outside.
    pub fn out(protocol: Protocol, client: Place) -> Self {
        Self::between(protocol, client, Place::Outside)
    }

    /// From the outside to the published port of a sandbox.
    pub fn published(protocol: Protocol, server: Place) -> Self {
        Self::between(protocol, Place::Outside, server)
    }

    /// From a client to the outside or to the published port of a sandbox.
    pub fn between(protocol: Protocol, client: Place, server: Place) -> Self {
        Self {
            id: 0,
            protocol,
            client,
            server,
            remote: Remote::Peer,
            sport: None,
            dport: None,
            direct: false,
        }
    }

    /// To the sandbox's own address instead of a published port.
    pub fn direct(mut self) -> Self {
        self.direct = true;
        self
    }

    /// Whether a sandbox is reached by its own address.
    pub fn is_direct(&self) -> bool {
        self.direct
    }

    /// Another flow of the sequence.
    pub fn number(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// With another host outside.
    pub fn with(mut self, remote: Remote) -> Self {
        self.remote = remote;
        self
    }

    /// From this port, or with this identifier.
    pub fn from_port(mut self, port: u16) -> Self {
        self.sport = Some(port);
        self
    }

    /// To this port.
    pub fn to_port(mut self, port: u16) -> Self {
        self.dport = Some(port);
        self
    }

    fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp
    }
}

/// Addresses and ports as one end sees them, its peer first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source and destination.
    pub addresses: [IpAddr; 2],
    /// Source and destination.
    pub ports: [u16; 2],
}

/// What has arrived on one twin since the sequence began.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// By flow and direction, whether the client sent it: the tuple that its last packet arrived with.
    pub tuples: BTreeMap<(u16, bool), Tuple>,
    /// By flow and direction: that packet.
    pub packets: BTreeMap<(u16, bool), Vec<u8>>,
}

/// What a step knows when it makes its frames.
pub struct View<'a> {
    /// The addresses of the twins.
    pub map: &'a Map,
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// Number of the sequence.
    pub serial: u16,
    /// What has arrived.
    pub arrived: &'a Arrivals,
}

impl View<'_> {
    /// The address of somebody outside.
    pub fn remote(&self, remote: Remote) -> IpAddr {
        let [high, low] = self.serial.to_be_bytes();
        let kind = remote as u8;
        if self.v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0x100, kind.into(), 0, 0, 0, self.serial).into()
        } else {
            Ipv4Addr::new(100, 64 + kind, high, low).into()
        }
    }

    /// Somebody's own address.
    pub fn own(&self, place: Place, remote: Remote) -> IpAddr {
        match place {
            Place::Outside => self.remote(remote),
            sandbox => self.map.sandbox(sandbox, self.v6),
        }
    }

    /// The client's port or identifier: one that netpath may keep, and that no other sequence has for a long time.
    pub fn sport(&self, flow: &Flow) -> u16 {
        let own = 10_000 + self.serial % 3_700 * 6 + flow.id;
        flow.sport.unwrap_or(own)
    }

    /// As the client sends it.
    pub fn forward(&self, flow: &Flow) -> Packet {
        let source = self.own(flow.client, flow.remote);
        let (outer, inner) = flow.server.published(flow.is_udp());
        let (destination, port) = match flow.server {
            Place::Outside => (self.remote(flow.remote), inner),
            server if flow.direct => (self.map.sandbox(server, self.v6), inner),
            _ => (Map::host(self.v6), outer),
        };
        let ports = [self.sport(flow), flow.dport.unwrap_or(port)];
        self.packet(flow, flow.client, [source, destination], ports, true)
    }

    /// As the server answers it: to where the client's last packet came from, or would come from if it had arrived.
    pub fn back(&self, flow: &Flow) -> Packet {
        let known = self.arrived.tuples.get(&(flow.id, true)).copied();
        let tuple = known.unwrap_or_else(|| self.guess(flow));
        let [peer, own] = tuple.addresses;
        let [peer_port, port] = tuple.ports;
        self.packet(flow, flow.server, [own, peer], [port, peer_port], false)
    }

    /// What an end complains about: the last packet that it has received, without its frame; or the one it would
    /// have received.
    pub fn received(&self, flow: &Flow, forward: bool) -> Vec<u8> {
        if let Some(frame) = self.arrived.packets.get(&(flow.id, forward)) {
            return frame[14..].to_vec();
        }
        let packet = if forward {
            let tuple = self.guess(flow);
            self.packet(flow, flow.client, tuple.addresses, tuple.ports, true)
        } else {
            self.forward(flow).reversed()
        };
        packet.build()[14..].to_vec()
    }

    /// A frame for what somebody sends to an address.
    pub fn eth(&self, from: Place, packet: Packet, to: IpAddr) -> Packet {
        let (source, destination) = self.map.macs(from, to);
        packet.eth(source, destination)
    }

    fn guess(&self, flow: &Flow) -> Tuple {
        let (_, inner) = flow.server.published(flow.is_udp());
        let source = match flow.client {
            client if client == flow.server => Map::gateway(client, self.v6),
            _ if flow.server == Place::Outside => Map::host(self.v6),
            client => self.own(client, flow.remote),
        };
        let port = match flow.server {
            Place::Outside => flow.dport.unwrap_or(inner),
            _ => inner,
        };
        Tuple {
            addresses: [source, self.own(flow.server, flow.remote)],
            ports: [self.sport(flow), port],
        }
    }

    fn packet(
        &self,
        flow: &Flow,
        from: Place,
        [source, destination]: [IpAddr; 2],
        [sport, dport]: [u16; 2],
        forward: bool,
    ) -> Packet {
        let packet = self.eth(from, Packet::ip(source, destination), destination);
        match flow.protocol {
            Protocol::Tcp => packet.tcp(sport, dport, ACK),
            Protocol::Udp => packet.udp(sport, dport),
            Protocol::Echo if forward => packet.echo_request(sport),
            Protocol::Echo => packet.echo_reply(dport),
        }
    }
}

type Make = dyn Fn(&View<'_>) -> Vec<Vec<u8>> + Send + Sync;

/// Somebody sends frames.
pub struct Step {
    /// Who.
    pub from: Place,
    /// Of which flow, and whether its client sends.
    pub flow: Option<(Flow, bool)>,
    /// Whether they carry the flow itself; otherwise they complain about it.
    pub carries: bool,
    /// Which.
    pub make: Box<Make>,
}

/// Steps that belong together.
pub struct Sequence {
    /// What it shows.
    pub name: String,
    /// Which test it belongs to.
    pub group: Group,
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// Its steps.
    pub steps: Vec<Step>,
}

impl Sequence {
    /// Without steps.
    pub fn new(group: Group, v6: bool, name: impl Into<String>) -> Self {
        let family = if v6 { "v6" } else { "v4" };
        Self {
            name: format!("{group:?}/{family}/{}", name.into()).to_lowercase(),
            group,
            v6,
            steps: Vec::new(),
        }
    }

    /// The client of a flow sends a packet, changed by `shape`.
    pub fn forward(
        self,
        flow: Flow,
        shape: impl Fn(Packet) -> Packet + Send + Sync + 'static,
    ) -> Self {
        self.pieces(flow, true, move |packet| vec![shape(packet).build()])
    }

    /// The server of a flow answers with a packet, changed by `shape`.
    pub fn back(
        self,
        flow: Flow,
        shape: impl Fn(Packet) -> Packet + Send + Sync + 'static,
    ) -> Self {
        self.pieces(flow, false, move |packet| vec![shape(packet).build()])
    }

    /// One end of a flow sends frames made of its next packet.
    pub fn pieces(
        mut self,
        flow: Flow,
        forward: bool,
        cut: impl Fn(Packet) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Self {
        self.steps.push(Step {
            from: if forward { flow.client } else { flow.server },
            flow: Some((flow, forward)),
            carries: true,
            make: Box::new(move |view| {
                cut(if forward {
                    view.forward(&flow)
                } else {
                    view.back(&flow)
                })
            }),
        });
        self
    }

    /// One end of a flow sends its next packet in fragments, in this order.
    pub fn fragments(
        self,
        flow: Flow,
        forward: bool,
        sizes: &'static [usize],
        order: Vec<usize>,
        shape: impl Fn(Packet) -> Packet + Send + Sync + 'static,
    ) -> Self {
        self.pieces(flow, forward, move |packet| {
            let pieces = fragments::cut(&shape(packet).build(), sizes);
            order.iter().map(|index| pieces[*index].clone()).collect()
        })
    }

    /// Somebody sends a packet that belongs to no flow.
    pub fn send(
        mut self,
        from: Place,
        make: impl Fn(&View<'_>) -> Packet + Send + Sync + 'static,
    ) -> Self {
        self.steps.push(Step {
            from,
            flow: None,
            carries: false,
            make: Box::new(move |view| vec![make(view).build()]),
        });
        self
    }

    /// An end of a flow, or a router before it, complains about the last packet that has arrived there.
    pub fn complain(mut self, flow: Flow, about_client: bool, error: Complaint) -> Self {
        self.steps.push(Step {
            from: if about_client {
                flow.server
            } else {
                flow.client
            },
            flow: Some((flow, !about_client)),
            carries: false,
            make: Box::new(move |view| vec![error.build(view, &flow, about_client)]),
        });
        self
    }
}

/// An ICMP error.
#[derive(Clone, Debug)]
pub struct Complaint {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// What stands behind the checksum.
    pub rest: [u8; 4],
    /// Bytes quoted behind the IP header; all if `None`.
    pub quote: Option<usize>,
    /// IPv4 options of the quoted packet.
    pub quoted_options: &'static [u8],
    /// A host outside that complains, instead of the receiver itself.
    pub from: Option<Remote>,
    /// Changes what is quoted.
    pub spoil: Option<fn(&mut Vec<u8>)>,
    /// Changes the complaint.
    pub shape: fn(Packet) -> Packet,
}

impl Complaint {
    /// From the receiver itself, with a whole quote.
    pub fn new(kind: u8, code: u8) -> Self {
        Self {
            kind,
            code,
            rest: [0; 4],
            quote: None,
            quoted_options: &[],
            from: None,
            spoil: None,
            shape: |packet| packet,
        }
    }

    /// The complaint that a port is closed.
    pub fn closed(v6: bool) -> Self {
        if v6 { Self::new(1, 4) } else { Self::new(3, 3) }
    }

    fn build(&self, view: &View<'_>, flow: &Flow, about_client: bool) -> Vec<u8> {
        let mut quoted = view.received(flow, about_client);
        if !view.v6 {
            quoted = fragments::with_options(&quoted, self.quoted_options);
        }
        if let Some(spoil) = self.spoil {
            spoil(&mut quoted);
        }
        let header = fragments::header_length(&quoted);
        // A router quotes no more than fits into the smallest packet that everybody takes.
        quoted.truncate(self.quote.map_or(548, |bytes| header + bytes));
        let place = if about_client {
            flow.server
        } else {
            flow.client
        };
        let [quoted_source, quoted_destination] = fragments::addresses(&quoted);
        let source = match self.from {
            Some(remote) => view.remote(remote),
            None => quoted_destination,
        };
        let packet = Packet::ip(source, quoted_source).icmp(self.kind, self.code, self.rest);
        let packet = view.eth(place, packet.payload(&quoted), quoted_source);
        (self.shape)(packet).build()
    }
}

/// The tuple that a packet has arrived with.
pub fn tuple(decoded: &Decoded) -> Option<Tuple> {
    let [source, destination] = *decoded.addresses.get(..2)? else {
        return None;
    };
    let [sport, dport] = *decoded.ports.get(..2)? else {
        return None;
    };
    Some(Tuple {
        addresses: [source, destination],
        ports: [sport, dport],
    })
}
