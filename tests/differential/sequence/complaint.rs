//! ICMP errors about what has arrived.

use netpath_tests::packet::{Packet, fragments};

use super::{Flow, Remote, View};

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

    pub(super) fn build(&self, view: &View<'_>, flow: &Flow, about_client: bool) -> Vec<u8> {
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
