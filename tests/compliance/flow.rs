//! Flows between two ends that the test controls: it sends every packet and checks its arrival.

use std::net::IpAddr;

use netpath_tests::{
    Wire,
    fixture::{Fixture, HOST, Pair, Sandbox},
    mac_of,
    packet::Packet,
};

/// A remote host. No network stack has these addresses, so only the test replies.
pub const REMOTE: Pair = ("203.0.113.7", "2001:db8:203::7");
/// A router on the path to [`REMOTE`].
pub const ROUTER: Pair = ("203.0.113.1", "2001:db8:203::1");

/// The published port.
pub const PUBLISHED: u16 = 8080;
/// The sandbox's port.
pub const TARGET: u16 = 80;

/// The two ends: the device of a sandbox, and the device of the outside.
pub struct Ends {
    /// In the sandbox.
    pub inside: Wire,
    /// At the other end of the uplink.
    pub outside: Wire,
    own: [IpAddr; 2],
    /// MAC address of the sandbox's gateway.
    pub gateway: [u8; 6],
    /// MAC address of the host's uplink.
    pub host: [u8; 6],
}

/// An address and a port.
#[derive(Clone, Copy, Debug)]
pub struct AddrPort(pub IpAddr, pub u16);

/// The protocol of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlowProtocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// Echo; ports are identifiers.
    Echo,
}

/// A flow.
#[derive(Clone, Copy)]
pub struct Flow<'a> {
    ends: &'a Ends,
    protocol: FlowProtocol,
    /// The sandbox's end.
    pub inner: AddrPort,
    /// The sandbox's end as the outside sees it.
    pub outer: AddrPort,
    /// The remote end.
    pub remote: AddrPort,
}

/// The address of a family (0: IPv4, 1: IPv6).
pub fn address(pair: Pair, family: usize) -> IpAddr {
    let text = [pair.0, pair.1][family];
    text.parse().expect("an address")
}

impl Ends {
    /// Keeps the sandbox's own stack from replying to [`REMOTE`].
    #[track_caller]
    pub fn new(fixture: &Fixture, sandbox: &Sandbox) -> Self {
        for remote in [REMOTE.0, REMOTE.1] {
            sandbox
                .netns
                .exec(&format!("ip route add blackhole {remote}"));
        }
        let device = &sandbox.host_interface;
        let link = fixture
            .host()
            .exec(&format!("ip -o link show dev {device}"));
        let mut words = link.split_ascii_whitespace();
        words.find(|word| *word == "master");
        let bridge = words.next().expect("a bridge");
        // Resolves the neighbours in advance.
        for neighbour in ["192.0.2.2", "2001:db8:2::2"] {
            fixture.host().exec(&format!("ping -c 1 -W 2 {neighbour}"));
        }
        Self {
            inside: Wire::open(&sandbox.netns, "eth0"),
            outside: Wire::open(fixture.outside(), "eth0"),
            own: sandbox
                .addresses()
                .map(|text| text.parse().expect("an address")),
            gateway: mac_of(fixture.host(), bridge),
            host: mac_of(fixture.host(), "eth0"),
        }
    }

    /// A flow from the sandbox, from a port that is kept.
    pub fn outbound(&self, family: usize, protocol: FlowProtocol, port: u16) -> Flow<'_> {
        Flow {
            ends: self,
            protocol,
            inner: AddrPort(self.own[family], port),
            outer: AddrPort(address(HOST, family), port),
            remote: AddrPort(address(REMOTE, family), 7000),
        }
    }

    /// A flow to the sandbox's published port.
    pub fn inbound(&self, family: usize, protocol: FlowProtocol, port: u16) -> Flow<'_> {
        Flow {
            ends: self,
            protocol,
            inner: AddrPort(self.own[family], TARGET),
            outer: AddrPort(address(HOST, family), PUBLISHED),
            remote: AddrPort(address(REMOTE, family), port),
        }
    }

    /// Sends a packet as the sandbox.
    pub fn send_inside(&self, packet: &Packet) {
        let packet = packet.clone().eth(self.inside.mac, self.gateway);
        self.inside.send(&packet.build());
    }

    /// Sends a packet to the host from outside.
    pub fn send_outside(&self, packet: &Packet) {
        let packet = packet.clone().eth(self.outside.mac, self.host);
        self.outside.send(&packet.build());
    }
}

impl Flow<'_> {
    /// The same flow with another remote host.
    pub fn to(mut self, remote: IpAddr) -> Self {
        self.remote.0 = remote;
        self
    }

    /// A packet of this flow between these ends.
    pub fn between(&self, from: AddrPort, to: AddrPort) -> Packet {
        let packet = Packet::ip(from.0, to.0);
        match self.protocol {
            FlowProtocol::Tcp => packet.tcp(from.1, to.1, 0),
            FlowProtocol::Udp => packet.udp(from.1, to.1),
            // Whether the sandbox opens the flow.
            FlowProtocol::Echo if to.0 == self.remote.0 => packet.echo_request(from.1),
            FlowProtocol::Echo => packet.echo_reply(to.1),
        }
    }

    /// The sandbox's packet, as the sandbox sends it.
    pub fn sent_inside(&self) -> Packet {
        self.between(self.inner, self.remote)
    }

    /// The sandbox's packet, as the outside receives it.
    pub fn received_outside(&self) -> Packet {
        self.between(self.outer, self.remote).routed()
    }

    /// The remote end's packet, as the outside sends it.
    pub fn sent_outside(&self) -> Packet {
        self.between(self.remote, self.outer)
    }

    /// The remote end's packet, as the sandbox receives it.
    pub fn received_inside(&self) -> Packet {
        self.between(self.remote, self.inner).routed()
    }

    /// Sends a packet from the sandbox; it must arrive translated and otherwise unchanged.
    #[track_caller]
    pub fn leaves(&self, what: &str, change: impl Fn(Packet) -> Packet) {
        self.ends.send_inside(&change(self.sent_inside()));
        self.ends
            .outside
            .expect(what, &change(self.received_outside()));
    }

    /// Sends a packet from the remote end; it must arrive translated and otherwise unchanged.
    #[track_caller]
    pub fn arrives(&self, what: &str, change: impl Fn(Packet) -> Packet) {
        self.ends.send_outside(&change(self.sent_outside()));
        self.ends
            .inside
            .expect(what, &change(self.received_inside()));
    }

    /// Sends a packet from the remote end; it must not arrive.
    #[track_caller]
    pub fn does_not_arrive(&self, what: &str) {
        self.ends.send_outside(&self.sent_outside());
        let arrived = self.received_inside().build();
        self.ends
            .inside
            .expect_nothing(what, |frame| frame[12..] == arrived[12..]);
    }

    /// A packet in each direction, the sandbox's first.
    #[track_caller]
    pub fn opens_inside(&self) {
        self.leaves("the first packet", |packet| packet);
        self.arrives("the reply", |packet| packet);
    }

    /// A packet in each direction, the remote end's first.
    #[track_caller]
    pub fn opens_outside(&self) {
        self.arrives("the first packet", |packet| packet);
        self.leaves("the reply", |packet| packet);
    }
}
