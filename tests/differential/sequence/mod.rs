//! A sequence as data: steps that send packets, which may depend on packets that have arrived.

mod flow;
mod icmp_error;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use netpath_tests::packet::{ACK, Decoded, Packet, fragments};

use crate::pair::{End, Map};

pub use flow::{Flow, Protocol, Remote};
pub use icmp_error::IcmpError;

/// The test that a sequence belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Sequences of TCP segments.
    Tcp,
    /// Datagrams.
    Udp,
    /// Echo requests and replies.
    Echo,
    /// ICMP errors.
    IcmpErrors,
    /// Fragments.
    Fragments,
    /// Fields of the IP header: TTL, type of service, options, protocol.
    Headers,
    /// Malformed packets.
    Malformed,
    /// Filtering and isolation.
    Filtering,
    /// Random sessions.
    Random,
}

/// Addresses and ports as a receiver sees them, the peer's first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuple {
    /// Source and destination.
    pub addresses: [IpAddr; 2],
    /// Source and destination.
    pub ports: [u16; 2],
}

/// The packets that have arrived on one node during a sequence.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    /// By flow and direction (true: sent by the client), the tuple of the last packet.
    pub tuples: BTreeMap<(u16, bool), Tuple>,
    /// By flow and direction, the last packet.
    pub packets: BTreeMap<(u16, bool), Vec<u8>>,
}

/// The inputs of a step.
pub struct View<'a> {
    /// The addresses of the nodes.
    pub map: &'a Map,
    /// Whether the family is IPv6.
    pub v6: bool,
    /// Number of the sequence.
    pub serial: u16,
    /// The packets that have arrived.
    pub arrived: &'a Arrivals,
}

impl View<'_> {
    /// The address of a host outside.
    pub fn remote(&self, remote: Remote) -> IpAddr {
        let [high, low] = self.serial.to_be_bytes();
        let kind = remote as u8;
        if self.v6 {
            Ipv6Addr::new(0x2001, 0xdb8, 0x100, kind.into(), 0, 0, 0, self.serial).into()
        } else {
            Ipv4Addr::new(100, 64 + kind, high, low).into()
        }
    }

    /// The own address of an end.
    pub fn own(&self, end: End, remote: Remote) -> IpAddr {
        match end {
            End::Outside => self.remote(remote),
            sandbox => self.map.sandbox(sandbox, self.v6),
        }
    }

    /// The client's port or identifier: one that netpath may keep, and that no recent sequence has used.
    pub fn sport(&self, flow: &Flow) -> u16 {
        let own = 10_000 + self.serial % 3_700 * 6 + flow.id;
        flow.sport.unwrap_or(own)
    }

    /// The client's packet.
    pub fn forward(&self, flow: &Flow) -> Packet {
        let source = self.own(flow.client, flow.remote);
        let (outer, inner) = flow.server.published(flow.is_udp());
        let (destination, port) = match flow.server {
            End::Outside => (self.remote(flow.remote), inner),
            server if flow.direct => (self.map.sandbox(server, self.v6), inner),
            _ => (Map::host(self.v6), outer),
        };
        let ports = [self.sport(flow), flow.dport.unwrap_or(port)];
        self.packet(flow, flow.client, [source, destination], ports, true)
    }

    /// The server's reply to the source of the client's last packet, or to the expected source if none has arrived.
    pub fn back(&self, flow: &Flow) -> Packet {
        let known = self.arrived.tuples.get(&(flow.id, true)).copied();
        let tuple = known.unwrap_or_else(|| self.expected_tuple(flow));
        let [peer, own] = tuple.addresses;
        let [peer_port, port] = tuple.ports;
        self.packet(flow, flow.server, [own, peer], [port, peer_port], false)
    }

    /// The last packet that an end has received, without its Ethernet header, or the expected one if none
    /// has arrived. An ICMP error quotes it.
    pub fn received(&self, flow: &Flow, forward: bool) -> Vec<u8> {
        if let Some(frame) = self.arrived.packets.get(&(flow.id, forward)) {
            return frame[14..].to_vec();
        }
        let packet = if forward {
            let tuple = self.expected_tuple(flow);
            self.packet(flow, flow.client, tuple.addresses, tuple.ports, true)
        } else {
            self.forward(flow).reversed()
        };
        packet.build()[14..].to_vec()
    }

    /// Sets the MAC addresses of a packet.
    pub fn eth(&self, from: End, packet: Packet, to: IpAddr) -> Packet {
        let (source, destination) = self.map.macs(from, to);
        packet.eth(source, destination)
    }

    fn expected_tuple(&self, flow: &Flow) -> Tuple {
        let (_, inner) = flow.server.published(flow.is_udp());
        let source = match flow.client {
            client if client == flow.server => Map::gateway(client, self.v6),
            _ if flow.server == End::Outside => Map::host(self.v6),
            client => self.own(client, flow.remote),
        };
        let port = match flow.server {
            End::Outside => flow.dport.unwrap_or(inner),
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
        from: End,
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

/// A step: an end sends frames.
pub struct Step {
    /// The sender.
    pub from: End,
    /// The flow, and whether its client sends.
    pub flow: Option<(Flow, bool)>,
    /// Whether the frames belong to the flow itself; otherwise they are errors about it.
    pub carries: bool,
    /// Makes the frames.
    pub make: Box<Make>,
}

/// Steps in order.
pub struct Sequence {
    /// The name.
    pub name: String,
    /// The test it belongs to.
    pub group: Group,
    /// Whether the family is IPv6.
    pub v6: bool,
    /// The steps.
    pub steps: Vec<Step>,
}

impl Sequence {
    /// A sequence without steps.
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
        self.frames(flow, true, move |packet| vec![shape(packet).build()])
    }

    /// The server of a flow replies with a packet, changed by `shape`.
    pub fn back(
        self,
        flow: Flow,
        shape: impl Fn(Packet) -> Packet + Send + Sync + 'static,
    ) -> Self {
        self.frames(flow, false, move |packet| vec![shape(packet).build()])
    }

    /// One end of a flow sends frames made from its next packet.
    pub fn frames(
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
        self.frames(flow, forward, move |packet| {
            let fragments = fragments::cut(&shape(packet).build(), sizes);
            order
                .iter()
                .map(|index| fragments[*index].clone())
                .collect()
        })
    }

    /// A packet that belongs to no flow.
    pub fn send(
        mut self,
        from: End,
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

    /// Another host sends the server's next packet with its own source address.
    pub fn stray(mut self, flow: Flow, source: Remote) -> Self {
        self.steps.push(Step {
            from: flow.server,
            flow: Some((flow, false)),
            carries: false,
            make: Box::new(move |view| vec![view.back(&flow).source(view.remote(source)).build()]),
        });
        self
    }

    /// An end of a flow, or a router, sends an ICMP error about the last packet that has arrived.
    pub fn icmp_error(mut self, flow: Flow, about_client: bool, error: IcmpError) -> Self {
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

/// The tuple of a packet that has arrived.
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
