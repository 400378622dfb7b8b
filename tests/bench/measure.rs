//! The measurements and their targets.

use std::{net::SocketAddr, time::Duration};

use crate::{
    Name,
    load::{self, Ends, Flow},
    setups::{INSIDE, Setup, Setups},
};

/// The direction in which connections are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Path {
    /// From outside to the published port.
    Published,
    /// From the sandbox to the outside.
    Outbound,
}

/// A row of the results.
#[derive(Clone, Copy, Debug)]
pub struct Measure {
    kind: Kind,
    path: Path,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Tcp(Flow),
    Udp,
    Http,
    Connect,
}

/// A value.
pub struct Sample {
    /// The setup.
    pub setup: Setup,
    /// In the unit of the measurement.
    pub value: f64,
}

impl Measure {
    /// All measurements of traffic.
    pub fn all() -> impl Iterator<Item = Self> {
        let kinds = [
            Kind::Tcp(Flow::ToServer),
            Kind::Tcp(Flow::ToClient),
            Kind::Udp,
            Kind::Http,
            Kind::Connect,
        ];
        [Path::Published, Path::Outbound]
            .into_iter()
            .flat_map(move |path| kinds.map(|kind| Self { kind, path }))
    }

    /// The name on the command line.
    pub const fn name(&self) -> Name {
        match self.kind {
            Kind::Tcp(_) => Name::Tcp,
            Kind::Udp => Name::Udp,
            Kind::Http => Name::Http,
            Kind::Connect => Name::Connect,
        }
    }

    /// The direction in which its connections are opened.
    pub const fn path(&self) -> Path {
        self.path
    }

    /// The name of its row.
    pub fn label(&self) -> String {
        let path = match self.path {
            Path::Published => "published",
            Path::Outbound => "outbound",
        };
        let what = match self.kind {
            Kind::Tcp(_) if self.enters_sandbox() => "TCP stream into the sandbox",
            Kind::Tcp(_) => "TCP stream out of the sandbox",
            Kind::Udp => "UDP, 64 bytes",
            Kind::Http => "requests, keep-alive",
            Kind::Connect => "new connections",
        };
        format!("{path}: {what}")
    }

    /// The unit of its values.
    pub const fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Tcp(_) => "Gbit/s",
            Kind::Udp => "packets/s",
            Kind::Http | Kind::Connect => "requests/s",
        }
    }

    /// netpath's target as a multiple of another setup. A bridge makes an outbound stream more expensive for netfilter
    /// and routing.
    pub fn target(&self, other: Setup) -> f64 {
        match (other, self.kind) {
            (Setup::Iptables, Kind::Tcp(_)) if self.enters_sandbox() => 1.15,
            (Setup::Iptables, Kind::Tcp(_)) => 1.5,
            (Setup::Iptables, Kind::Udp) => 2.0,
            (Setup::Iptables, Kind::Http) => 1.8,
            (Setup::Iptables, Kind::Connect) => 3.0,
            _ => 1.0,
        }
    }

    /// Takes one measurement.
    pub fn take(&self, setups: &Setups, setup: Setup, round: usize, time: Duration) -> f64 {
        let hosts = setups.hosts(setup);
        let outside = setups.outside(round);
        let ends = match self.path {
            Path::Published => Ends {
                client: &hosts.topology.outside,
                source: outside,
                server: &hosts.sandbox,
                listen: SocketAddr::new(hosts.inside, INSIDE),
                target: hosts.published,
            },
            Path::Outbound => Ends {
                client: &hosts.sandbox,
                source: hosts.inside,
                server: &hosts.topology.outside,
                listen: SocketAddr::new(outside, INSIDE),
                target: SocketAddr::new(outside, INSIDE),
            },
        };
        match self.kind {
            Kind::Tcp(flow) => load::stream::run(&ends, flow, time),
            Kind::Udp => load::udp::run(&ends, time),
            Kind::Http => load::http::keep_alive(&ends, time),
            Kind::Connect => load::http::connect(&ends, time),
        }
    }

    fn enters_sandbox(&self) -> bool {
        matches!(
            (self.kind, self.path),
            (Kind::Tcp(Flow::ToServer), Path::Published)
                | (Kind::Tcp(Flow::ToClient), Path::Outbound)
        )
    }
}
