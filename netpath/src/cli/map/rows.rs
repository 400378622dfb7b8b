//! Rows of maps as text, and their keys.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::output::{self, Column, Row};
use crate::frontend::http::v1::{
    Counter, FragmentEnds, Fragmented, MapEndpoint, MapNetwork, NatFlow, Port, Tuple,
};

/// A row that can be followed over time.
pub(super) trait Tracked: Row + Serialize {
    /// Identifies the object across dumps. Rows are sorted by it.
    fn key(&self) -> String;

    /// The part of the row that is compared with the previous dump.
    fn mark(&self) -> String;

    /// A last line for the table.
    fn totals(_rows: &[Self]) -> String
    where
        Self: Sized,
    {
        String::new()
    }
}

impl Row for NatFlow {
    const COLUMNS: &'static [Column] = &[
        "PROTO",
        "KIND",
        "STATE",
        "SOURCE",
        "DESTINATION",
        "REPLY-SOURCE",
        "REPLY-DESTINATION",
        "SANDBOX",
        "NETWORK",
        "PKTS#",
        "REPLY-PKTS#",
        "BYTES#",
        "REPLY-BYTES#",
        "AGE#",
        "EXPIRES#",
    ];

    fn cells(&self) -> Vec<String> {
        let name = |name: &Option<String>| name.clone().unwrap_or_else(|| "-".to_owned());
        vec![
            self.protocol.to_string(),
            self.kind.to_string(),
            self.state.clone(),
            source(&self.original),
            destination(&self.original),
            source(&self.reply),
            destination(&self.reply),
            name(&self.sandbox),
            name(&self.network),
            self.packets[0].to_string(),
            self.packets[1].to_string(),
            self.bytes[0].to_string(),
            self.bytes[1].to_string(),
            self.age_s.to_string(),
            self.expires_s.to_string(),
        ]
    }
}

impl Tracked for NatFlow {
    fn key(&self) -> String {
        format!(
            "{} {} {} {} {}",
            self.protocol,
            source(&self.original),
            destination(&self.original),
            source(&self.reply),
            destination(&self.reply),
        )
    }

    fn mark(&self) -> String {
        self.state.clone()
    }

    fn totals(rows: &[Self]) -> String {
        let sum = |of: fn(&Self) -> u64| rows.iter().map(of).fold(0, u64::saturating_add);
        format!(
            "{} flows, {} packets and {} reply packets, {} bytes and {} reply bytes\n",
            rows.len(),
            sum(|flow| flow.packets[0]),
            sum(|flow| flow.packets[1]),
            sum(|flow| flow.bytes[0]),
            sum(|flow| flow.bytes[1]),
        )
    }
}

impl Row for Fragmented {
    const COLUMNS: &'static [Column] = &[
        "PROTO#",
        "SOURCE",
        "DESTINATION",
        "ID#",
        "AS-SOURCE",
        "AS-DESTINATION",
        "AS-ID#",
        "SANDBOX",
        "NETWORK",
        "BYTES#",
        "TOTAL#",
        "AGE#",
        "EXPIRES#",
    ];

    fn cells(&self) -> Vec<String> {
        let or_dash =
            |number: Option<u64>| number.map_or("-".to_owned(), |known| known.to_string());
        vec![
            or_dash(self.protocol.map(u64::from)),
            self.original.source.to_string(),
            self.original.destination.to_string(),
            self.original.id.to_string(),
            self.translated.source.to_string(),
            self.translated.destination.to_string(),
            self.translated.id.to_string(),
            self.sandbox.clone(),
            self.network.clone(),
            self.bytes.to_string(),
            or_dash(self.total),
            self.age_s.to_string(),
            self.expires_s.to_string(),
        ]
    }
}

impl Tracked for Fragmented {
    fn key(&self) -> String {
        let FragmentEnds {
            source,
            destination,
            id,
        } = self.original;
        format!("{source} {destination} {id:010}")
    }

    fn mark(&self) -> String {
        self.bytes.to_string()
    }
}

impl Tracked for Port {
    fn key(&self) -> String {
        self.cells().join(" ")
    }

    fn mark(&self) -> String {
        String::new()
    }

    fn totals(rows: &[Self]) -> String {
        let ports = rows
            .iter()
            .map(|row| u64::from(row.host_port_end.saturating_sub(row.host_port)) + 1);
        format!("{} ranges, {} ports\n", rows.len(), ports.sum::<u64>())
    }
}

impl Row for MapEndpoint {
    const COLUMNS: &'static [Column] = &[
        "SLOT#",
        "GENERATION#",
        "SANDBOX",
        "NETWORK",
        "INTERFACE",
        "MAC",
        "ADDRESSES",
        "GATEWAYS",
        "MTU#",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.slot.to_string(),
            self.generation.to_string(),
            self.sandbox.clone(),
            self.network.clone(),
            self.interface.clone(),
            self.mac.clone(),
            output::list(&self.addresses),
            output::list(&self.gateways),
            self.mtu.to_string(),
        ]
    }
}

impl Tracked for MapEndpoint {
    fn key(&self) -> String {
        format!("{:010} {:010}", self.slot, self.generation)
    }

    fn mark(&self) -> String {
        self.cells().join(" ")
    }
}

impl Row for MapNetwork {
    const COLUMNS: &'static [Column] = &["INDEX#", "NAME", "BRIDGE", "FLAGS"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.index.to_string(),
            self.name.clone(),
            self.bridge.clone(),
            output::list(&self.flags),
        ]
    }
}

impl Tracked for MapNetwork {
    fn key(&self) -> String {
        format!("{:010}", self.index)
    }

    fn mark(&self) -> String {
        self.cells().join(" ")
    }
}

impl Row for Counter {
    const COLUMNS: &'static [Column] = &["NAME", "VERDICT", "PACKETS#", "BYTES#"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.verdict.to_string(),
            self.packets.to_string(),
            self.bytes.to_string(),
        ]
    }
}

impl Tracked for Counter {
    fn key(&self) -> String {
        self.name.clone()
    }

    fn mark(&self) -> String {
        self.packets.to_string()
    }
}

fn source(tuple: &Tuple) -> String {
    at(tuple.source, tuple.source_port)
}

fn destination(tuple: &Tuple) -> String {
    at(tuple.destination, tuple.destination_port)
}

fn at(address: IpAddr, port: u16) -> String {
    SocketAddr::new(address, port).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::map::filter::{Filter, Filtered},
        frontend::http::v1::{FlowKind, FlowProtocol},
    };

    fn flow(protocol: FlowProtocol, source: &str, sandbox: Option<&str>) -> NatFlow {
        let tuple = |from: &str, to: &str| {
            let (from, to): (SocketAddr, SocketAddr) = (from.parse().unwrap(), to.parse().unwrap());
            Tuple {
                source: from.ip(),
                source_port: from.port(),
                destination: to.ip(),
                destination_port: to.port(),
            }
        };
        NatFlow {
            protocol,
            kind: FlowKind::Snat,
            state: "established".to_owned(),
            original: tuple(source, "198.51.100.7:443"),
            reply: tuple("198.51.100.7:443", "192.0.2.1:61000"),
            sandbox: sandbox.map(str::to_owned),
            network: None,
            packets: [10, 8],
            bytes: [1000, 64_000],
            age_s: 5,
            expires_s: 86_395,
        }
    }

    #[test]
    fn flow_table_has_one_line_per_flow_and_totals() {
        let flows = [
            flow(FlowProtocol::Tcp, "172.17.0.2:40000", Some("web")),
            flow(FlowProtocol::Icmp, "172.17.0.3:7", None),
        ];
        assert_eq!(
            output::table(NatFlow::COLUMNS, flows.iter().map(Row::cells)) + &NatFlow::totals(&flows),
            "\
PROTO  KIND  STATE        SOURCE            DESTINATION       REPLY-SOURCE      REPLY-DESTINATION  SANDBOX  NETWORK  PKTS  REPLY-PKTS  BYTES  REPLY-BYTES  AGE  EXPIRES
tcp    snat  established  172.17.0.2:40000  198.51.100.7:443  198.51.100.7:443  192.0.2.1:61000    web      -          10           8   1000        64000    5    86395
icmp   snat  established  172.17.0.3:7      198.51.100.7:443  198.51.100.7:443  192.0.2.1:61000    -        -          10           8   1000        64000    5    86395
2 flows, 20 packets and 16 reply packets, 2000 bytes and 128000 reply bytes
"
        );
    }

    #[test]
    fn conditions_select_flows() {
        let tcp = flow(FlowProtocol::Tcp, "172.17.0.2:40000", Some("web"));
        let admits = |filter: Filter| filter.admits(&tcp);
        assert!(admits(Filter::default()));
        assert!(admits(Filter {
            sandbox: Some("web".to_owned()),
            protocol: Some(FlowProtocol::Tcp),
            address: Some("192.0.2.1".parse().unwrap()),
        }));
        for filter in [
            Filter {
                sandbox: Some("db".to_owned()),
                ..Filter::default()
            },
            Filter {
                protocol: Some(FlowProtocol::Udp),
                ..Filter::default()
            },
            Filter {
                address: Some("192.0.2.9".parse().unwrap()),
                ..Filter::default()
            },
        ] {
            assert!(!admits(filter));
        }
        assert!(NatFlow::CONDITIONS.contains(&"--sandbox") && Counter::CONDITIONS.is_empty());
    }
}
