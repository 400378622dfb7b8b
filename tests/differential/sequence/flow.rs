//! Flows: two ends that exchange packets.

use netpath_tests::packet::number;

use crate::pair::End;

/// The protocol of a flow.
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
    /// The protocol number in a family.
    pub const fn number(self, v6: bool) -> u8 {
        match self {
            Self::Tcp => number::TCP,
            Self::Udp => number::UDP,
            Self::Echo if v6 => number::ICMPV6,
            Self::Echo => number::ICMP,
        }
    }

    /// The name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "echo",
        }
    }
}

/// A host outside. Every sequence has hosts of its own, so that it shares no flow with another sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remote {
    /// The peer of most flows.
    Peer,
    /// A second peer.
    Second,
    /// A router, which only sends errors.
    Router,
}

/// Two ends. The client sends to a fixed address and port; the server replies to the source it sees.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Distinguishes the flows of a sequence.
    pub id: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// The end that sends first.
    pub client: End,
    /// The end that replies.
    pub server: End,
    /// The host outside.
    pub remote: Remote,
    /// The client's port or identifier, if it is not the default of the flow.
    pub(super) sport: Option<u16>,
    /// The destination port of the client, if it is not the default.
    pub(super) dport: Option<u16>,
    pub(super) direct: bool,
}

impl Flow {
    /// From a sandbox to the outside.
    pub fn out(protocol: Protocol, client: End) -> Self {
        Self::between(protocol, client, End::Outside)
    }

    /// From the outside to the published port of a sandbox.
    pub fn published(protocol: Protocol, server: End) -> Self {
        Self::between(protocol, End::Outside, server)
    }

    /// From a client to the outside or to the published port of a sandbox.
    pub fn between(protocol: Protocol, client: End, server: End) -> Self {
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

    /// Sets the identifier within the sequence.
    pub fn number(mut self, id: u16) -> Self {
        self.id = id;
        self
    }

    /// Sets the host outside.
    pub fn with(mut self, remote: Remote) -> Self {
        self.remote = remote;
        self
    }

    /// Sets the client's port or identifier.
    pub fn with_sport(mut self, port: u16) -> Self {
        self.sport = Some(port);
        self
    }

    /// Sets the destination port of the client.
    pub fn with_dport(mut self, port: u16) -> Self {
        self.dport = Some(port);
        self
    }

    pub(super) fn is_udp(&self) -> bool {
        self.protocol == Protocol::Udp
    }
}
