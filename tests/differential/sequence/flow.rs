//! Flows: who talks with whom.

use netpath_tests::packet::number;

use crate::twin::Place;

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
    pub(super) sport: Option<u16>,
    /// The port that the client sends to, if it is not the usual one.
    pub(super) dport: Option<u16>,
    pub(super) direct: bool,
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
    pub fn with_sport(mut self, port: u16) -> Self {
        self.sport = Some(port);
        self
    }

    /// To this port.
    pub fn with_dport(mut self, port: u16) -> Self {
        self.dport = Some(port);
        self
    }

    pub(super) fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp
    }
}
