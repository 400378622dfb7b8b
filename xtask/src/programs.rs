//! External programs that the demo and the tests use, with their Debian packages.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::{
    command,
    command::step,
    toolchain::{Install, apt, cargo},
};

/// A package, and the program or file that shows that it is installed.
pub type Entry = (&'static str, &'static str);

/// What the demo needs.
pub const DEMO: &[Entry] = &[("iproute2", "ip"), ("util-linux", "nsenter")];

/// What compiling libFuzzer needs.
pub const FUZZ: &[Entry] = &[("g++", "c++")];

/// What the tests that run a daemon need.
pub const TESTS: &[Entry] = &[
    ("iproute2", "ip"),
    ("util-linux", "nsenter"),
    ("iperf3", "iperf3"),
    ("redis-server", "redis-server"),
    ("redis-tools", "redis-cli"),
    ("nginx-light", "nginx"),
    ("wrk", "wrk"),
    ("tcpdump", "tcpdump"),
    ("ethtool", "ethtool"),
    ("conntrack", "conntrack"),
    ("iptables", "iptables"),
    ("nftables", "nft"),
    ("jq", "jq"),
    ("python3-scapy", "/usr/lib/python3/dist-packages/scapy"),
    ("netcat-openbsd", "nc"),
    ("procps", "sysctl"),
    ("bpftool", "bpftool"),
    ("curl", "curl"),
    ("tshark", "tshark"),
    ("traceroute", "traceroute"),
    ("iputils-tracepath", "tracepath"),
    ("iputils-ping", "ping"),
    ("coturn", "turnutils_natdiscovery"),
    ("nsd", "nsd"),
    ("dnsperf", "dnsperf"),
    ("unbound", "unbound"),
    ("wireguard-tools", "wg"),
];

/// Services that come with the packages; the tests start these programs themselves.
const SERVICES: [(&str, &str); 6] = [
    ("redis-server", "redis-server"),
    ("nginx-light", "nginx"),
    ("coturn", "coturn"),
    ("nsd", "nsd"),
    ("unbound", "unbound"),
    ("etcd-server", "etcd"),
];

/// Installs missing packages, or reports them.
pub fn ensure(entries: &[Entry], install: Install) -> Result<()> {
    let missing: Vec<_> = entries
        .iter()
        .filter(|(_, evidence)| !is_installed(evidence))
        .copied()
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<_> = missing.iter().map(|(package, _)| *package).collect();
    if !install.allowed() {
        bail!(
            "missing programs; install the packages {} (Debian's names)",
            packages.join(" ")
        );
    }
    if !apt::present() {
        let programs: Vec<_> = missing.iter().map(|(_, evidence)| *evidence).collect();
        step!(
            "not found: {}; tests that use them fail",
            programs.join(" ")
        );
        return Ok(());
    }
    apt::refresh()?;
    apt::install(&packages)?;
    for (_, service) in SERVICES
        .iter()
        .filter(|(package, _)| packages.contains(package))
    {
        disable_service(service)?;
    }
    Ok(())
}

fn is_installed(evidence: &str) -> bool {
    if evidence.starts_with('/') {
        Path::new(evidence).exists()
    } else {
        command::find(evidence).is_some()
    }
}

/// Disables a service, so that no test dependency leaves a server running on the user's machine.
fn disable_service(service: &str) -> Result<()> {
    if Path::new("/run/systemd/system").exists() {
        step!("systemctl disable --now {service}: the tests start their own");
        command::status(
            command::as_root("systemctl")?.args(["disable", "--now", "--quiet", service]),
        )?;
    }
    Ok(())
}

/// The version of the test runner that is installed if none is there.
const NEXTEST: &str = "0.9.151";

/// Installs `cargo nextest`, the test runner.
pub fn ensure_nextest(install: Install) -> Result<()> {
    // Cargo looks beyond PATH, into the directory it installs to.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let version = Command::new(cargo).args(["nextest", "--version"]).output();
    if version.is_ok_and(|output| output.status.success()) {
        return Ok(());
    }
    if !install.allowed() {
        bail!("no test runner: run `cargo install cargo-nextest --locked`");
    }
    step!("compiling the test runner cargo-nextest {NEXTEST} (some minutes)");
    cargo::install("cargo-nextest", |command| {
        // The self-update is a third of the compilation, and needs TLS.
        command.args(["--no-default-features", "--features=default-no-update"]);
        command.args(["--version", NEXTEST]);
    })
}
