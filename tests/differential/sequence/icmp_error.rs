//! ICMP errors about packets that have arrived.

use netpath_tests::packet::{Packet, fragments};

use super::{Flow, Remote, View};

/// An ICMP error.
#[derive(Clone, Debug)]
pub struct IcmpError {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
    /// The four bytes after the checksum.
    pub rest: [u8; 4],
    /// Bytes quoted after the IP header; all if `None`.
    pub quote: Option<usize>,
    /// IPv4 options of the quoted packet.
    pub quoted_options: &'static [u8],
    /// The host outside that sends the error; the receiver of the packet if `None`.
    pub from: Option<Remote>,
    /// Changes the quoted packet.
    pub mutation: Option<fn(&mut Vec<u8>)>,
    /// Changes the error.
    pub shape: fn(Packet) -> Packet,
}

impl IcmpError {
    /// An error from the receiver with a complete quote.
    pub fn new(kind: u8, code: u8) -> Self {
        Self {
            kind,
            code,
            rest: [0; 4],
            quote: None,
            quoted_options: &[],
            from: None,
            mutation: None,
            shape: |packet| packet,
        }
    }

    /// Port unreachable.
    pub fn closed(v6: bool) -> Self {
        if v6 { Self::new(1, 4) } else { Self::new(3, 3) }
    }

    pub(super) fn build(&self, view: &View<'_>, flow: &Flow, about_client: bool) -> Vec<u8> {
        let mut quoted = view.received(flow, about_client);
        if !view.v6 {
            quoted = fragments::with_options(&quoted, self.quoted_options);
        }
        if let Some(mutation) = self.mutation {
            mutation(&mut quoted);
        }
        let header = fragments::header_length(&quoted);
        // A router quotes no more than fits into the smallest packet that every link accepts.
        quoted.truncate(self.quote.map_or(548, |bytes| header + bytes));
        let end = if about_client {
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
        let packet = view.eth(end, packet.payload(&quoted), quoted_source);
        (self.shape)(packet).build()
    }
}
