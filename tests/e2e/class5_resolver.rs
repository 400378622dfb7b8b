//! A resolver with many clients answers while another sandbox opens flows as fast as it can.
//!
//! ```text
//! outside                 host                          sandboxes
//! dnsperf ──── queries ──► port 53/udp ────────────────► unbound
//! nsd     ◄─── misses ─── masquerade  ◄──────────────── unbound
//! port x  ◄─── flood ──── masquerade  ◄──────────────── another sandbox
//! ```

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use netpath_tests::{
    Netns, Process, Transport,
    fixture::{Fixture, HOST, OUTSIDE, Sandbox},
};
use tempfile::TempDir;

use crate::class5_fairness::{assert_few_refusals, fixture, flood, size};

/// Client ports of one run of dnsperf. It has at most 256 sockets in each of its threads.
const CLIENTS_PER_RUN: u64 = 1_000;
/// The first client port.
const FIRST_PORT: u64 = 10_000;
/// Queries per second.
const RATE: u64 = 5_000;
/// Distinct names. Their records expire after one second, so each causes a query of unbound per second.
const NAMES: u64 = 200;

/// A server outside that knows every name below `test.`
fn authority(directory: &Path, outside: &Netns) -> Process {
    let zone =
        "$TTL 1\n@ SOA ns hostmaster 1 60 60 60 1\n@ NS ns\nns A 192.0.2.2\n* A 192.0.2.53\n";
    let directory = directory.display();
    let configuration = format!(
        "server:\n  username: \"\"\n  chroot: \"\"\n  zonesdir: \"{directory}\"\n  pidfile: \"\"\n  database: \"\"\n  \
         zonelistfile: \"{directory}/zones\"\n  xfrdfile: \"{directory}/xfrd\"\n  xfrdir: \"{directory}\"\n\
         remote-control:\n  control-enable: no\nzone:\n  name: test.\n  zonefile: test.zone\n"
    );
    let file = format!("{directory}/nsd.conf");
    fs::write(format!("{directory}/test.zone"), zone).expect("zone");
    fs::write(&file, configuration).expect("configuration");
    let mut process = outside.spawn(&format!("nsd -d -c {file}"));
    process.wait_for_port(outside, Transport::Udp, 53);
    process
}

/// A resolver in the sandbox that asks [`authority`].
fn resolver(directory: &Path, sandbox: &Sandbox) -> Process {
    let configuration = format!(
        "server:\n  interface: 0.0.0.0\n  interface: ::0\n  access-control: 0.0.0.0/0 allow\n  access-control: ::/0 allow\n  \
         username: \"\"\n  chroot: \"\"\n  pidfile: \"\"\n  use-syslog: no\n  logfile: \"\"\n  module-config: iterator\n  \
         local-zone: test. nodefault\n  so-rcvbuf: 8m\nremote-control:\n  control-enable: no\n\
         forward-zone:\n  name: .\n  forward-addr: {}\n  forward-addr: {}\n",
        OUTSIDE.0, OUTSIDE.1
    );
    let file = directory.join("unbound.conf");
    fs::write(&file, configuration).expect("configuration");
    let mut process = sandbox
        .netns
        .spawn(&format!("unbound -d -c {}", file.display()));
    process.wait_for_port(&sandbox.netns, Transport::Udp, 53);
    process
}

/// Queries and losses of dnsperf.
#[derive(Clone, Copy, Default)]
struct Tally {
    sent: u64,
    lost: u64,
}

impl Tally {
    fn share(self) -> f64 {
        self.lost as f64 / self.sent as f64
    }
}

/// What the clients do.
struct Load {
    queries: PathBuf,
    clients: u64,
}

impl Load {
    /// `count` queries from `clients` ports, in runs of [`CLIENTS_PER_RUN`] ports.
    fn new(directory: &Path, count: u64, clients: u64) -> Self {
        let runs = clients / CLIENTS_PER_RUN;
        assert!(runs > 0 && FIRST_PORT + clients <= 0xffff, "{clients}");
        let mut lines = String::new();
        for number in 0..count / runs {
            writeln!(lines, "name{}.test. A", number % NAMES).expect("a line");
        }
        let queries = directory.join("queries");
        fs::write(&queries, lines).expect("queries");
        Self { queries, clients }
    }

    /// Sends all queries to the published port of an address.
    fn send(&self, fixture: &Fixture, address: &str) -> Tally {
        let queries = self.queries.display();
        let mut tally = Tally::default();
        for first in (0..self.clients).step_by(CLIENTS_PER_RUN as usize) {
            let port = FIRST_PORT + first;
            let output = fixture.outside().exec(&format!(
                "dnsperf -s {address} -d {queries} -n 1 -c {CLIENTS_PER_RUN} -T 4 -x {port} -Q {RATE} -q 20000 -t 2"
            ));
            let number = |label: &str| -> u64 {
                let line = output.lines().find_map(|line| line.split_once(label));
                let word = line.and_then(|(_, rest)| rest.split_ascii_whitespace().next());
                word.and_then(|word| word.parse().ok())
                    .unwrap_or_else(|| panic!("no '{label}' in:\n{output}"))
            };
            let completed = number("Queries completed:");
            assert_eq!(number("NOERROR "), completed, "{output}");
            tally.sent += number("Queries sent:");
            tally.lost += number("Queries lost:");
        }
        tally
    }

    fn send_to_both(&self, fixture: &Fixture) -> Tally {
        let [v4, v6] = [HOST.0, HOST.1].map(|address| self.send(fixture, address));
        Tally {
            sent: v4.sent + v6.sent,
            lost: v4.lost + v6.lost,
        }
    }
}

/// The full sizes of `NETPATH_GATE_QUERIES`, `NETPATH_GATE_FLOOD` and `NETPATH_GATE_CLIENTS` are 600,000, 95,000 and 50,000.
#[test]
fn serial_unbound_answers_dnsperf_while_another_sandbox_floods() {
    let count = size("NETPATH_GATE_QUERIES", 10_000);
    let rate = size("NETPATH_GATE_FLOOD", 20_000);
    let clients = size("NETPATH_GATE_CLIENTS", 2_000);
    let directory = TempDir::with_prefix("npt-resolver-").expect("directory");
    let fixture = fixture();
    let published = fixture.sandbox("resolver", "network_a", &["53:53/udp"]);
    let noisy = fixture.sandbox("noisy", "network_a", &[]);
    let _authority = authority(directory.path(), fixture.outside());
    let _resolver = resolver(directory.path(), &published);
    let load = Load::new(directory.path(), count / 2, clients);

    let quiet = load.send_to_both(&fixture);
    let stop = AtomicBool::new(false);
    let (flooded, flows) = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&noisy.netns, rate, &stop));
        thread::sleep(Duration::from_millis(500));
        let flooded = load.send_to_both(&fixture);
        stop.store(true, Ordering::Relaxed);
        (flooded, flooding.join().expect("flood"))
    });
    println!(
        "of {} queries from {clients} ports per family {} are lost; of {} while {flows} flows are opened, {}",
        quiet.sent, quiet.lost, flooded.sent, flooded.lost
    );
    assert!(flows > 0);
    assert!(flooded.share() <= 0.001, "{} are lost", flooded.lost);
    assert!(flooded.share() <= quiet.share() + 0.000_5);
    assert_few_refusals(&fixture);
    fixture.assert_clean(&[&published, &noisy]);
}
