//! `cargo xtask bench`: netpath compared with dockerd's iptables rules and with plain routing.
//!
//! ```text
//!             outside ──── eth0  host                        sandbox
//!   netpath   client ────────────┤ programs │───────────────  server     published port, SNAT
//!   iptables  client ────────────┤ NAT, conntrack, bridge │─  server     the same, by dockerd's rules
//!   routing   client ────────────┤ routes │─────────────────  server     no NAT, no conntrack
//! ```
//!
//! All three setups exist at the same time and have the same links. Each round measures one after the other, in an
//! order that rotates between rounds, and compares the values within the round, so that other load affects all three
//! equally. The results are medians over the rounds, of values and of ratios.
#![expect(
    clippy::expect_used,
    reason = "a measurement that cannot be taken ends the run with what was expected"
)]

mod deny;
mod docker;
mod load;
mod machine;
mod measure;
mod node;
mod prog;
mod report;
mod setups;
mod stats;

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;

use measure::{Measure, Path, Sample};
use node::Selection;
use setups::{Family, Setup, Setups};

/// Compares netpath with dockerd's iptables rules and with plain routing.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Args {
    /// tcp, udp, http, connect, prog, node, deny; all if none is named.
    names: Vec<Name>,
    /// Number of rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Duration of each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// A quick estimate: three rounds of half a second; `node` and `deny` measure IPv4 only.
    #[arg(long)]
    quick: bool,
    /// Use IPv6. Without it, `node` and `deny` measure both families, and everything else IPv4.
    #[arg(long)]
    v6: bool,
    /// Use the rules of `dockerd --userland-proxy=false`.
    #[arg(long)]
    no_userland_proxy: bool,
    /// Use a user-defined network, whose containers have rules for Docker's name server.
    #[arg(long)]
    user_network: bool,
    /// Only connections opened in this direction.
    #[arg(long)]
    path: Option<Path>,
    /// Only rows of `node` and `deny` whose name contains this text.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only this setup, for a profiler; nothing is compared.
    #[arg(long, value_name = "SIDE")]
    only: Option<Setup>,
    /// Write all values to a file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// The kinds of measurements.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Name {
    /// Gbit/s of one TCP stream, in each direction.
    Tcp,
    /// Received UDP packets per second.
    Udp,
    /// Requests per second over persistent connections.
    Http,
    /// Requests per second over a new connection each.
    Connect,
    /// Nanoseconds per packet of each program.
    Prog,
    /// Nanoseconds per packet of the node, above sender and receiver.
    Node,
    /// Nanoseconds to drop a packet of a denied host, by netpath and by nftables.
    Deny,
}

impl Args {
    fn selects(&self, name: Name) -> bool {
        self.names.is_empty() || self.names.contains(&name)
    }

    /// The families that `node` and `deny` measure.
    fn families(&self) -> &'static [Family] {
        match (self.v6, self.quick) {
            (true, _) => &[Family::V6],
            (false, true) => &[Family::V4],
            (false, false) => &[Family::V4, Family::V6],
        }
    }
}

fn main() {
    let mut args = Args::parse();
    if args.quick {
        (args.rounds, args.seconds) = (3, 0.5);
    }
    let docker = docker::Variant {
        proxy: !args.no_userland_proxy,
        user_network: args.user_network,
    };
    let mut report = report::Report::new(&args, machine::facts());
    let end_to_end = [Name::Tcp, Name::Udp, Name::Http, Name::Connect, Name::Prog];
    if end_to_end.iter().any(|name| args.selects(*name)) {
        measure_traffic(&args, docker, &mut report);
    }
    if args.selects(Name::Node) {
        measure_node(&args, docker, &mut report);
    }
    if args.selects(Name::Deny) {
        report.deny(deny::measure(&deny::Selection {
            rounds: args.rounds,
            time: Duration::from_secs_f64(args.seconds / 4.0),
            families: args.families(),
            filter: args.filter.as_deref(),
        }));
    }
    report.finish(machine::load());
    report.print();
    if let Some(file) = &args.json {
        fs::write(file, report.json()).expect("the file for results can be written");
        println!("\n{}", file.display());
    }
}

/// Measures traffic between the two ends, and the programs.
fn measure_traffic(args: &Args, docker: docker::Variant, report: &mut report::Report) {
    let family = if args.v6 { Family::V6 } else { Family::V4 };
    let mut setups = Setups::new(family, docker);
    let measures: Vec<Measure> = Measure::all()
        .filter(|measure| {
            args.selects(measure.name()) && args.path.is_none_or(|path| measure.path() == path)
        })
        .collect();
    for round in 0..args.rounds {
        for measure in &measures {
            let mut samples = Vec::new();
            for offset in 0..Setup::ALL.len() {
                let setup = Setup::ALL[(round + offset) % Setup::ALL.len()];
                if args.only.is_some_and(|only| only != setup) {
                    continue;
                }
                let value =
                    measure.take(&setups, setup, round, Duration::from_secs_f64(args.seconds));
                samples.push(Sample { setup, value });
            }
            report.progress(round, measure, &samples);
            report.add(*measure, &samples);
        }
    }
    if !measures.is_empty() && args.only.is_none() {
        setups.assert_paths();
    }
    if args.selects(Name::Prog) {
        report.programs(prog::measure(&mut setups, args.rounds));
    }
}

/// Measures what the node takes for a packet.
fn measure_node(args: &Args, docker: docker::Variant, report: &mut report::Report) {
    for family in args.families() {
        let setups = Setups::new(*family, docker);
        let selection = Selection {
            rounds: args.rounds,
            time: Duration::from_secs_f64(args.seconds / 4.0),
            path: args.path,
            filter: args.filter.as_deref(),
            only: args.only,
        };
        let costs = node::measure(&setups, &selection);
        if !costs.is_empty() && args.only.is_none() {
            setups.assert_paths();
        }
        report.node(costs);
    }
}
