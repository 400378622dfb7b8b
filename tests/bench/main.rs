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

mod docker;
mod load;
mod machine;
mod measure;
mod prog;
mod report;
mod setups;
mod stats;

use std::{fs, path::PathBuf, time::Duration};

use clap::Parser;

use measure::{Measure, Path, Sample};
use setups::{Family, Setup, Setups};

/// Compares netpath with dockerd's iptables rules and with plain routing.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Args {
    /// tcp, udp, http, connect, prog; all if none is named.
    names: Vec<Name>,
    /// Number of rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Duration of each measurement.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// A quick estimate: three rounds of half a second.
    #[arg(long)]
    quick: bool,
    /// Use IPv6.
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
}

fn main() {
    let mut args = Args::parse();
    if args.quick {
        (args.rounds, args.seconds) = (3, 0.5);
    }
    let family = if args.v6 { Family::V6 } else { Family::V4 };
    let docker = docker::Variant {
        proxy: !args.no_userland_proxy,
        user_network: args.user_network,
    };
    let mut setups = Setups::new(family, docker);
    let mut report = report::Report::new(&args, machine::facts());
    let is_selected = |name| args.names.is_empty() || args.names.contains(&name);

    let measures: Vec<Measure> = Measure::all()
        .filter(|measure| {
            is_selected(measure.name()) && args.path.is_none_or(|path| measure.path() == path)
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
    if is_selected(Name::Prog) {
        report.programs(prog::measure(&mut setups, args.rounds));
    }
    report.finish(machine::load());
    report.print();
    if let Some(file) = &args.json {
        fs::write(file, report.json()).expect("the file for results can be written");
        println!("\n{}", file.display());
    }
}
