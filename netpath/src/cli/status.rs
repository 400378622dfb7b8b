//! `netpath status`.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;

use super::{
    Context, Outcome,
    failure::Failure,
    output::{self, Column, Format, Row},
};
use crate::{
    datapath::read,
    frontend::http::{
        self,
        client::ClientError,
        v1::{Flows, Interface, MapInfo, Program, SandboxFlows, Status},
    },
};

/// Show node status; exit status 1 unless the node is ready
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  netpath status --wait 10")]
pub(super) struct Arguments {
    /// Wait until the node is ready, at most this long
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<Duration>,
    /// Directory for pinned maps, read while the daemon is down
    /// [default: that of the daemon with this socket]
    #[arg(long, value_name = "DIR")]
    bpf_dir: Option<PathBuf>,
}

/// Shortest timeout of a request, which also applies after the deadline.
const MIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Pause between two requests.
const INTERVAL: Duration = Duration::from_millis(100);

/// Requests the status until the node is ready or the deadline has passed.
pub(super) async fn execute(context: &Context, arguments: Arguments) -> Outcome {
    let deadline = Instant::now() + arguments.wait.unwrap_or_default();
    let result = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let client = context.client.with_timeout(left.max(MIN_TIMEOUT));
        let result = client.status().await;
        let ready = result.as_ref().is_ok_and(|status| status.ready);
        if ready || Instant::now() >= deadline {
            break result;
        }
        tokio::time::sleep(INTERVAL).await;
    };
    let status = match &result {
        Ok(status) => status.clone(),
        Err(error) => without_daemon(error, &context.pins(arguments.bpf_dir.as_deref())),
    };
    match context.format {
        Format::Table => output::text(&describe(&status))?,
        Format::Json => output::json(&status)?,
    }
    match result {
        Ok(status) if status.ready => Ok(0),
        Ok(status) => Err(Failure::because(
            "status",
            &status.node,
            if status.degraded.is_empty() {
                "not ready yet".to_owned()
            } else {
                format!("not ready: {}", status.degraded.join(", "))
            },
        )
        .advice("see 'netpath doctor' and the daemon's log")),
        Err(error) => Err(Failure::api("status", "")(error)),
    }
}

/// Status from the pinned maps, while the daemon does not respond.
fn without_daemon(error: &ClientError, bpf_dir: &Path) -> Status {
    let maps = read::list(bpf_dir).unwrap_or_default();
    let table = read::flow_table(bpf_dir, &maps).ok();
    let timers = table.as_ref().map(http::timers).unwrap_or_default();
    let node = nix::unistd::gethostname().unwrap_or_default();
    Status {
        node: node.to_string_lossy().into_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        flows: table.map(Into::into),
        timers,
        maps: maps.into_iter().map(Into::into).collect(),
        degraded: vec![error.to_string()],
        ..Status::default()
    }
}

fn describe(status: &Status) -> String {
    let reconcile = status.last_reconcile.as_ref().map(|last| {
        format!(
            "{} s ago, {} ms, {} operations, {} failed",
            last.age_s, last.duration_ms, last.operations, last.failed
        )
    });
    let reachable = match (status.store.reachable, status.store.writable) {
        (false, _) => "not reachable",
        (true, false) => "reachable, not writable",
        (true, true) => "reachable",
    };
    let store = match status.store.kind.as_str() {
        "" => String::new(),
        kind => format!("{kind} ({reachable})"),
    };
    let features = status.features.iter().map(|(name, used)| {
        let mark = if *used { '+' } else { '-' };
        format!("{mark}{name}")
    });
    let timers = status.timers.iter();
    let timers: Vec<_> = timers
        .map(|(name, limit)| format!("{name}={limit}"))
        .collect();
    let mut pairs = vec![
        ("node", status.node.clone()),
        ("version", status.version.clone()),
        ("ready", if status.ready { "yes" } else { "no" }.to_owned()),
        ("uplinks", output::list(&status.uplinks)),
        ("store", store),
        ("reconciled", reconcile.unwrap_or_default()),
        ("features", features.collect::<Vec<_>>().join(" ")),
        (
            "flows",
            status
                .flows
                .as_ref()
                .map(describe_flows)
                .unwrap_or_default(),
        ),
        ("idle limits", timers.join(" ")),
    ];
    let degraded = status.degraded.iter().cloned();
    pairs.extend(degraded.map(|reason| ("degraded", reason)));
    let mut text = output::pairs(&pairs);
    if let Some(flows) = &status.flows {
        section(&mut text, "most flows", &flows.top);
    }
    section(&mut text, "interfaces", &status.interfaces);
    section(&mut text, "nodes", &status.nodes);
    section(&mut text, "programs", &status.programs);
    section(&mut text, "maps", &status.maps);
    text
}

fn describe_flows(flows: &Flows) -> String {
    format!(
        "{} of {}, at most {} per sandbox and {} half-open, {} bytes each",
        flows.entries,
        flows.capacity,
        flows.per_sandbox_limit,
        flows.half_open_budget,
        flows.bytes_per_flow
    )
}

fn section<R: Row>(text: &mut String, title: &str, rows: &[R]) {
    if !rows.is_empty() {
        text.push_str(&format!("\n{title}\n"));
        text.push_str(&output::table(R::COLUMNS, rows.iter().map(R::cells)));
    }
}

impl Row for Interface {
    const COLUMNS: &'static [Column] = &["INTERFACE", "ROLE", "WHY"];

    fn cells(&self) -> Vec<String> {
        vec![self.name.clone(), self.role.clone(), self.why.clone()]
    }
}

impl Row for Program {
    const COLUMNS: &'static [Column] = &["NAME", "HOOK", "INTERFACE", "MODE", "ATTACHED"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.hook.clone(),
            self.interface.clone().unwrap_or_else(|| "-".to_owned()),
            self.mode.clone().unwrap_or_else(|| "-".to_owned()),
            if self.attached { "yes" } else { "no" }.to_owned(),
        ]
    }
}

impl Row for SandboxFlows {
    const COLUMNS: &'static [Column] = &["SANDBOX", "FLOWS#"];

    fn cells(&self) -> Vec<String> {
        vec![self.sandbox.clone(), self.flows.to_string()]
    }
}

impl Row for MapInfo {
    const COLUMNS: &'static [Column] = &["NAME", "KIND", "ENTRIES#", "MAX#", "USE#", "BYTES#"];

    fn cells(&self) -> Vec<String> {
        let percent = (self.entries * 100)
            .checked_div(self.max_entries)
            .unwrap_or(0);
        vec![
            self.name.clone(),
            self.kind.clone(),
            self.entries.to_string(),
            self.max_entries.to_string(),
            format!("{percent}%"),
            self.bytes.to_string(),
        ]
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|error: std::num::ParseFloatError| error.to_string())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|wait| wait.as_secs() <= 86_400)
        .ok_or_else(|| "it must be between 0 and 86400".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::http::v1::Node;
    use crate::frontend::http::v1::{Reconcile, Store};

    #[test]
    fn status_shows_every_section() {
        let status = Status {
            node: "a".to_owned(),
            version: "1.0".to_owned(),
            ready: false,
            nodes: vec![Node {
                name: "a".to_owned(),
                addresses: vec![
                    "192.0.2.7".parse().expect("IPv4"),
                    "2001:db8::7".parse().expect("IPv6"),
                ],
                version: "1.0".to_owned(),
                state: "ready".to_owned(),
                networks: vec!["web".to_owned()],
                last_seen_s: 0,
            }],
            uplinks: vec!["eth0".to_owned(), "eth1".to_owned()],
            interfaces: vec![Interface {
                name: "eth0".to_owned(),
                role: "uplink".to_owned(),
                why: "serves".to_owned(),
            }],
            store: Store {
                kind: "file".to_owned(),
                reachable: true,
                writable: true,
            },
            programs: vec![Program {
                name: "uplink_ingress".to_owned(),
                hook: "uplink-ingress".to_owned(),
                interface: Some("eth0".to_owned()),
                attached: true,
                mode: Some("tcx".to_owned()),
            }],
            maps: vec![MapInfo {
                name: "flows".to_owned(),
                kind: "hash".to_owned(),
                entries: 1,
                max_entries: 4,
                bytes: 4096,
            }],
            degraded: vec!["eth1 has no address".to_owned()],
            last_reconcile: Some(Reconcile {
                age_s: 2,
                duration_ms: 3,
                operations: 4,
                failed: 0,
            }),
            features: [("tcx".to_owned(), true), ("xdp".to_owned(), false)].into(),
            flows: Some(Flows {
                entries: 75,
                capacity: 1000,
                half_open_budget: 64,
                per_sandbox_limit: 250,
                bytes_per_flow: 456,
                top: vec![
                    SandboxFlows {
                        sandbox: "web".to_owned(),
                        flows: 70,
                    },
                    SandboxFlows {
                        sandbox: "db".to_owned(),
                        flows: 5,
                    },
                ],
            }),
            timers: [
                ("icmp".to_owned(), 60.into()),
                ("other".to_owned(), 600.into()),
            ]
            .into(),
        };
        assert_eq!(
            describe(&status),
            "\
node:         a
version:      1.0
ready:        no
uplinks:      eth0,eth1
store:        file (reachable)
reconciled:   2 s ago, 3 ms, 4 operations, 0 failed
features:     +tcx -xdp
flows:        75 of 1000, at most 250 per sandbox and 64 half-open, 456 bytes each
idle limits:  icmp=60 other=600
degraded:     eth1 has no address

most flows
SANDBOX  FLOWS
web         70
db           5

interfaces
INTERFACE  ROLE    WHY
eth0       uplink  serves

nodes
NAME  STATE  ADDRESSES              VERSION  NETWORKS  LAST SEEN
a     ready  192.0.2.7,2001:db8::7  1.0      web       now

programs
NAME            HOOK            INTERFACE  MODE  ATTACHED
uplink_ingress  uplink-ingress  eth0       tcx   yes

maps
NAME   KIND  ENTRIES  MAX  USE  BYTES
flows  hash        1    4  25%   4096
"
        );
    }

    #[test]
    fn status_without_daemon_is_not_ready_and_has_the_reason() {
        let error = ClientError::Unreachable {
            path: "/run/netpath/netpath.sock".into(),
            source: std::io::ErrorKind::NotFound.into(),
        };
        let status = without_daemon(&error, Path::new("/nowhere"));
        assert!(!status.ready && !status.store.reachable);
        assert!(status.degraded[0].starts_with("daemon not reachable at /run/netpath"));
    }
}
