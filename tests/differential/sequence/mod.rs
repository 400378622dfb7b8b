//! A sequence as data: who sends what, one step after the other, with placeholders for what only a run can tell.

mod complaint;
mod flow;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpath_tests::packet::{ACK, Decoded, Packet, fragments};

use crate::twin::{Map, Place};

pub use complaint::Complaint;
pub use flow::{Flow, Protocol, Remote};

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

    /// Somebody else sends what the server of a flow would send, with this source.
    pub fn stray(mut self, flow: Flow, source: Remote) -> Self {
        self.steps.push(Step {
            from: flow.server,
            flow: Some((flow, false)),
            carries: false,
            make: Box::new(move |view| vec![view.back(&flow).source(view.remote(source)).build()]),
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
