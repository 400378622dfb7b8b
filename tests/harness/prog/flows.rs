//! Flows as text, one line each.
//!
//! ```text
//! snat tcp 10.1.0.11:40000 > 198.51.100.7:80 as 192.0.2.1:61234 > 198.51.100.7:80 established
//! ```

use std::{fmt, net::SocketAddr};

use netpath_common::{
    flow::{FlowEntry, FlowKey, Kind, ORIGINAL, State},
    maps::Addr,
};

/// A flow: its original entry, and its reverse entry if there is one.
#[derive(Clone, Debug)]
pub struct Flow {
    /// Key of the original entry.
    pub key: FlowKey,
    /// Original entry.
    pub entry: FlowEntry,
    /// Key and value of the reverse entry.
    pub reply: Option<(FlowKey, FlowEntry)>,
}

/// The form of a flow's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// With the state.
    WithState,
    /// Without the state.
    Plain,
}

impl Flow {
    /// Pairs entries. A reverse entry without its original is a flow of kind `orphan`.
    pub fn of(entries: &[(FlowKey, FlowEntry)]) -> Vec<Self> {
        let find = |key: &FlowKey| entries.iter().find(|(other, _)| other == key).copied();
        entries
            .iter()
            .filter_map(|(key, entry)| {
                let reverse = find(&entry.to.reversed());
                if entry.role != ORIGINAL && reverse.is_some() {
                    return None;
                }
                Some(Self {
                    key: *key,
                    entry: *entry,
                    reply: reverse,
                })
            })
            .collect()
    }

    /// The state.
    pub fn state(&self) -> State {
        let reply = self.reply.map_or(0, |(_, entry)| entry.seen);
        State::of(self.key.protocol, self.entry.seen, reply)
    }

    /// The port or identifier after source translation.
    pub fn outer_port(&self) -> u16 {
        self.entry.to.sport.get()
    }

    /// The flow as text.
    pub fn show(&self, shown: Shown) -> String {
        let kind = match Kind::from_byte(self.entry.kind) {
            _ if self.reply.is_none() => "orphan",
            Some(Kind::None) => "none",
            Some(Kind::Snat) => "snat",
            Some(Kind::Dnat) => "dnat",
            Some(Kind::Hairpin) => "hairpin",
            None => "unknown",
        };
        let state = match shown {
            Shown::WithState => format!(" {}", self.state().name()),
            Shown::Plain => String::new(),
        };
        format!(
            "{kind} {} {} as {}{state}",
            protocol(self.key.protocol),
            Tuple(&self.key),
            Tuple(&self.entry.to)
        )
    }
}

struct Tuple<'a>(&'a FlowKey);

impl fmt::Display for Tuple<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = |addr: Addr, port| SocketAddr::new(addr.ip(), port);
        let FlowKey {
            src,
            dst,
            sport,
            dport,
            ..
        } = *self.0;
        write!(f, "{} > {}", end(src, sport.get()), end(dst, dport.get()))
    }
}

fn protocol(number: u8) -> String {
    match number {
        1 => "icmp".to_owned(),
        6 => "tcp".to_owned(),
        17 => "udp".to_owned(),
        58 => "icmpv6".to_owned(),
        other => other.to_string(),
    }
}
