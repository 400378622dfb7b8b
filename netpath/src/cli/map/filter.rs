//! Which rows to show.

use std::net::IpAddr;

use clap::Args;

use super::Failure;
use crate::frontend::http::v1::{
    Counter, FlowProtocol, Fragmented, MapEndpoint, MapNetwork, MapTable, NatFlow, Port, Protocol,
};

/// Which rows to show: those that meet every condition.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct Filter {
    /// Only rows of this sandbox
    #[arg(long)]
    pub sandbox: Option<String>,
    /// Only rows of this protocol
    #[arg(long, value_enum)]
    pub protocol: Option<FlowProtocol>,
    /// Only rows that contain this address
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
}

/// A row that can be filtered. `None` for a filter that does not apply to the table.
pub(super) trait Filtered {
    /// Names of the filters that apply.
    const CONDITIONS: &'static [&'static str];

    /// Whether it belongs to the sandbox.
    fn is_of(&self, _sandbox: &str) -> bool {
        true
    }

    /// Whether it has the protocol.
    fn has_protocol(&self, _protocol: FlowProtocol) -> bool {
        true
    }

    /// Whether it has the address.
    fn has_address(&self, _address: IpAddr) -> bool {
        true
    }
}

impl Filter {
    /// Refuses filters that do not apply to the table, instead of ignoring them.
    pub(super) fn check<R: Filtered>(&self, table: MapTable) -> Result<(), Failure> {
        let given = [
            ("--sandbox", self.sandbox.is_some()),
            ("--protocol", self.protocol.is_some()),
            ("--address", self.address.is_some()),
        ];
        for (name, given) in given {
            if given && !R::CONDITIONS.contains(&name) {
                return Err(Failure::because(
                    "map dump",
                    table.to_string(),
                    format!("{name} does not apply to this table"),
                )
                .advice("remove the option")
                .exit(2));
            }
        }
        Ok(())
    }

    /// Whether to show `row`.
    pub(super) fn admits<R: Filtered>(&self, row: &R) -> bool {
        self.sandbox.as_deref().is_none_or(|name| row.is_of(name))
            && self
                .protocol
                .is_none_or(|protocol| row.has_protocol(protocol))
            && self.address.is_none_or(|address| row.has_address(address))
    }
}

impl Filtered for NatFlow {
    const CONDITIONS: &'static [&'static str] = &["--sandbox", "--protocol", "--address"];

    fn is_of(&self, sandbox: &str) -> bool {
        self.sandbox.as_deref() == Some(sandbox)
    }

    fn has_protocol(&self, protocol: FlowProtocol) -> bool {
        self.protocol == protocol
    }

    fn has_address(&self, address: IpAddr) -> bool {
        [&self.original, &self.reply]
            .iter()
            .any(|tuple| tuple.source == address || tuple.destination == address)
    }
}

impl Filtered for Fragmented {
    const CONDITIONS: &'static [&'static str] = &["--sandbox", "--address"];

    fn is_of(&self, sandbox: &str) -> bool {
        self.sandbox == sandbox
    }

    fn has_address(&self, address: IpAddr) -> bool {
        [self.original, self.translated]
            .iter()
            .any(|ends| ends.source == address || ends.destination == address)
    }
}

impl Filtered for Port {
    const CONDITIONS: &'static [&'static str] = &["--sandbox", "--protocol", "--address"];

    fn is_of(&self, sandbox: &str) -> bool {
        self.sandbox == sandbox
    }

    fn has_protocol(&self, protocol: FlowProtocol) -> bool {
        matches!(
            (self.protocol, protocol),
            (Protocol::Tcp, FlowProtocol::Tcp)
                | (Protocol::Udp, FlowProtocol::Udp)
                | (Protocol::Sctp, FlowProtocol::Sctp)
        )
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.host_ip == Some(address) || self.container_ip == address
    }
}

impl Filtered for MapEndpoint {
    const CONDITIONS: &'static [&'static str] = &["--sandbox", "--address"];

    fn is_of(&self, sandbox: &str) -> bool {
        self.sandbox == sandbox
    }

    fn has_address(&self, address: IpAddr) -> bool {
        self.addresses.contains(&address) || self.gateways.contains(&address)
    }
}

impl Filtered for MapNetwork {
    const CONDITIONS: &'static [&'static str] = &[];
}

impl Filtered for Counter {
    const CONDITIONS: &'static [&'static str] = &[];
}
