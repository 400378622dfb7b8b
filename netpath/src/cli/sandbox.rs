//! `netpath sandbox`.

use std::{ffi::OsString, net::IpAddr, path::PathBuf};

use clap::{Args, Subcommand};
use ipnet::IpNet;

use super::{
    Context, Outcome,
    failure::Failure,
    output::{self, Column, Format, Row},
    port,
    process::{self, Stop, StopError},
    run,
};
use crate::{
    frontend::http::{
        client::Client,
        v1::{Sandbox, SandboxCreate},
    },
    model::{Name, Owner, Rate, parse_mac},
};

/// Sandboxes: network namespaces with their links, addresses and ports
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  netpath sandbox create web --network backend")]
pub(super) enum Command {
    /// Create a sandbox, or adopt a namespace, and print its name
    #[command(
        after_help = "Example:\n  netpath sandbox create web --network backend -p 8080:80 --netns /run/netns/web"
    )]
    Create(Box<Create>),
    /// List sandboxes
    #[command(
        after_help = "Example:\n  netpath sandbox ls -o json",
        visible_alias = "list"
    )]
    Ls,
    /// Show sandboxes in full
    #[command(after_help = "Example:\n  netpath sandbox inspect web -o json")]
    Inspect {
        /// Sandboxes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Run a command in a sandbox
    #[command(after_help = "Example:\n  netpath sandbox exec web -- ip addr")]
    Exec {
        /// Sandbox
        name: String,
        /// Command with its arguments
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    /// Remove sandboxes
    #[command(after_help = "Example:\n  netpath sandbox rm web")]
    Rm {
        /// Sandboxes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Stop the processes that run in them, and also remove sandboxes of other owners
        #[arg(short, long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name of the sandbox
    name: Name,
    /// Adopt the namespace at this path
    #[arg(long, value_name = "PATH", conflicts_with = "pid")]
    netns: Option<PathBuf>,
    /// Adopt the namespace of this process
    #[arg(long)]
    pid: Option<i32>,
    #[command(flatten)]
    network: NetworkOptions,
}

/// Form of a port specification.
pub(super) const SPEC: &str = "[HOST_IP:][HOST_PORT[-END]:]PORT[-END][/tcp|udp|sctp]; repeatable";

/// Networks and ports of a sandbox: for `sandbox create` and `run`.
#[derive(Debug, Default, Args)]
pub(super) struct NetworkOptions {
    /// Network, or host, none or container:NAME; repeatable [default: bridge]
    #[arg(long, value_name = "NET")]
    network: Vec<String>,
    /// Ports to publish, as with Docker
    #[arg(short, long, value_name = "SPEC", help = SPEC)]
    publish: Vec<String>,
    /// Sources that may use published ports; repeatable [default: all]
    #[arg(long, value_name = "CIDR")]
    allow: Vec<IpNet>,
    /// Address in the first network [default: a free one]
    #[arg(long)]
    ip: Option<IpAddr>,
    /// MAC address in the first network
    #[arg(long, value_parser = mac)]
    mac: Option<String>,
    /// Host name [default: the sandbox's name]
    #[arg(long, value_parser = hostname)]
    hostname: Option<String>,
    /// Limit of each direction of each endpoint, such as 10mbit or 1gbit, or in bits/s
    #[arg(long, value_name = "BITS/S")]
    rate: Option<Rate>,
    /// Let the sandbox forward packets for others: a gateway or VPN router of its networks. In a namespace that netpath does
    /// not create (--netns, --pid), set the sysctls `net.ipv4.ip_forward` and `net.ipv6.conf.all.forwarding` too
    #[arg(long)]
    forwarding: bool,
}

impl NetworkOptions {
    /// The request for the daemon, without the namespace.
    pub(super) fn request(self, name: Option<Name>) -> SandboxCreate {
        SandboxCreate {
            name: name.map(String::from),
            networks: self.network,
            publish: self.publish,
            allow: self.allow,
            ip: self.ip,
            mac: self.mac,
            hostname: self.hostname,
            rate: self.rate.map(u64::from),
            forwarding: self.forwarding,
            ..SandboxCreate::default()
        }
    }
}

impl Create {
    /// The request for the daemon.
    pub(super) fn request(self) -> SandboxCreate {
        SandboxCreate {
            // The daemon has another working directory.
            netns: self
                .netns
                .map(|path| std::path::absolute(&path).unwrap_or(path)),
            pid: self.pid,
            ..self.network.request(Some(self.name))
        }
    }
}

/// Executes `command`.
pub(super) async fn execute(context: &Context, command: Command) -> Outcome {
    let client = &context.client;
    match command {
        Command::Create(arguments) => {
            let request = arguments.request();
            let object = request.name.clone().unwrap_or_default();
            let sandbox = client.create_sandbox(&request).await;
            let sandbox = sandbox.map_err(Failure::api("sandbox create", object))?;
            match context.format {
                Format::Table => output::text(&format!("{}\n", sandbox.name))?,
                Format::Json => output::json(&[sandbox])?,
            }
        }
        Command::Ls => {
            let sandboxes = client
                .sandboxes()
                .await
                .map_err(Failure::api("sandbox ls", ""))?;
            output::rows(context.format, &sandboxes)?;
        }
        Command::Inspect { names } => {
            let mut sandboxes = Vec::with_capacity(names.len());
            for name in &names {
                let sandbox = client.sandbox(name).await;
                sandboxes.push(sandbox.map_err(Failure::api("sandbox inspect", name))?);
            }
            match context.format {
                Format::Table => {
                    let shown: Vec<String> = sandboxes.iter().map(describe).collect();
                    output::text(&shown.join("\n"))?;
                }
                Format::Json => output::json(&sandboxes)?,
            }
        }
        Command::Exec { name, command } => {
            let sandbox = client.sandbox(&name).await;
            let sandbox = sandbox.map_err(Failure::api("sandbox exec", &name))?;
            let error = process::replace(&command, &run::entry(&sandbox));
            return Err(run::failure("sandbox exec", &name, error));
        }
        Command::Rm { names, force } => {
            for name in &names {
                remove(client, name, force).await?;
                output::text(&format!("{name}\n"))?;
            }
        }
    }
    Ok(0)
}

/// Removes a sandbox; with force its process is stopped first. The daemon removes the sandbox when its process has ended.
async fn remove(client: &Client, name: &str, force: bool) -> Result<(), Failure> {
    let failed = |error| Failure::api("sandbox rm", name)(error);
    let stopped = force && stop_process(client, name).await?;
    match client.remove_sandbox(name, force).await {
        Err(error) if stopped && error.is_not_found() => Ok(()),
        Err(error) if !force && error.is_conflict() && runs(client, name).await => {
            Err(failed(error).advice("stop it first, or use -f, which stops it"))
        }
        result => result.map_err(failed),
    }
}

/// Whether a process that `--force` would stop runs in a sandbox of the command line.
async fn runs(client: &Client, name: &str) -> bool {
    let sandbox = client.sandbox(name).await;
    sandbox.is_ok_and(|sandbox| sandbox.started_pid.is_some() && sandbox.owner == Owner::Netpath)
}

/// Stops the process that netpath has started in the sandbox; returns whether there was one.
async fn stop_process(client: &Client, name: &str) -> Result<bool, Failure> {
    let find = || async move {
        let sandbox = client.sandbox(name).await;
        sandbox.map_err(|error| Failure::api("sandbox rm", name)(error))
    };
    let sandbox = find().await?;
    let Some(pid) = sandbox.started_pid else {
        return Ok(false);
    };
    let failed = |error: StopError| {
        Failure::new("sandbox rm", name, error).advice("run as root, or stop the process")
    };
    let process = Stop::of(pid).map_err(failed)?;
    // The process id may have been reused before the descriptor was opened.
    if find().await?.started_pid != Some(pid) {
        return Ok(true);
    }
    process.stop().map_err(failed)?;
    Ok(true)
}

impl Row for Sandbox {
    const COLUMNS: &'static [Column] = &[
        "NAME",
        "ID",
        "STATE",
        "PID",
        "MODE",
        "OWNER",
        "NETWORKS",
        "ADDRESSES",
        "PORTS",
        "NETNS",
    ];

    fn cells(&self) -> Vec<String> {
        let networks = self.endpoints.iter().map(|endpoint| &endpoint.network);
        let addresses = self
            .endpoints
            .iter()
            .flat_map(|endpoint| &endpoint.addresses);
        let ports = self
            .ports
            .iter()
            .map(|port| format!("{}/{}", port::served(port), port.protocol));
        vec![
            self.name.clone(),
            self.id.clone(),
            self.state.clone(),
            pid(self),
            self.network_mode.clone(),
            self.owner.to_string(),
            output::list(networks),
            output::list(addresses),
            output::list(ports),
            self.netns.display().to_string(),
        ]
    }
}

fn pid(sandbox: &Sandbox) -> String {
    sandbox
        .pid
        .map_or_else(|| "-".to_owned(), |pid| pid.to_string())
}

fn describe(sandbox: &Sandbox) -> String {
    let mut text = output::pairs(&[
        ("name", sandbox.name.clone()),
        ("id", sandbox.id.clone()),
        ("netns", sandbox.netns.display().to_string()),
        ("network mode", sandbox.network_mode.clone()),
        ("hostname", sandbox.hostname.clone()),
        ("forwarding", output::yes_no(sandbox.forwarding)),
        ("owner", sandbox.owner.to_string()),
        ("state", sandbox.state.clone()),
        ("pid", pid(sandbox)),
    ]);
    for endpoint in &sandbox.endpoints {
        text.push_str(&format!("endpoint {}\n", endpoint.id));
        let pairs = output::pairs(&[
            ("  network", endpoint.network.clone()),
            ("  interface", endpoint.interface.clone()),
            ("  host interface", endpoint.host_interface.clone()),
            ("  mac", endpoint.mac.clone()),
            ("  addresses", output::list(&endpoint.addresses)),
            ("  gateways", output::list(&endpoint.gateways)),
            ("  mtu", endpoint.mtu.to_string()),
            ("  rate", rate(endpoint.rate)),
        ]);
        text.push_str(&pairs);
    }
    if !sandbox.ports.is_empty() {
        text.push_str("ports\n");
        let rows = sandbox.ports.iter().map(Row::cells);
        for line in output::table(crate::frontend::http::v1::Port::COLUMNS, rows).lines() {
            text.push_str(&format!("  {line}\n"));
        }
    }
    text
}

fn rate(bits: Option<u64>) -> String {
    bits.map_or_else(
        || "none".to_owned(),
        |bits| Rate::try_from(bits).map_or_else(|_| bits.to_string(), |rate| rate.to_string()),
    )
}

fn mac(text: &str) -> Result<String, String> {
    match parse_mac(text) {
        Some(mac) => Ok(mac.to_string()),
        None => Err("it must look like 02:00:5e:00:53:01".to_owned()),
    }
}

/// Accepts host names of RFC 1123 §2.1 that the kernel accepts too.
fn hostname(text: &str) -> Result<String, String> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if text.len() <= 64 && text.split('.').all(label) {
        Ok(text.to_owned())
    } else {
        Err("it must have labels of letters, digits and '-', and at most 64 characters".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::http::tests::fake;

    #[test]
    fn sandbox_is_shown_as_row_and_in_full() {
        let sandbox = fake::sandbox("web");
        assert_eq!(
            output::table(Sandbox::COLUMNS, [sandbox.cells()]),
            "\
NAME  ID            STATE    PID  MODE     OWNER   NETWORKS  ADDRESSES      PORTS                  NETNS
web   aaaaaaaaaaaa  running  7    network  docker  bridge    172.17.0.2/24  0.0.0.0:8080-8081/tcp  /proc/self/ns/net
"
        );
        assert_eq!(
            describe(&sandbox),
            "\
name:          web
id:            aaaaaaaaaaaa
netns:         /proc/self/ns/net
network mode:  network
hostname:      web
forwarding:    no
owner:         docker
state:         running
pid:           7
endpoint bbbbbbbbbbbb
  network:         bridge
  interface:       eth0
  host interface:  npv-bbbbbbbbbb
  mac:             02:00:5e:00:53:01
  addresses:       172.17.0.2/24
  gateways:        172.17.0.1
  mtu:             1500
  rate:            10mbit
ports
  SANDBOX  NETWORK  PROTOCOL  HOST               CONTAINER         ALLOW
  web      bridge   tcp       0.0.0.0:8080-8081  172.17.0.2:80-81  10.0.0.0/8
"
        );
    }

    #[test]
    fn invalid_host_name_is_refused() {
        for good in ["web", "web-1.prod", "a_b"] {
            assert!(hostname(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-a",
            "a-",
            "a..b",
            "a b",
            &"x".repeat(64),
            &"a.".repeat(33),
        ] {
            assert!(hostname(bad).is_err(), "{bad}");
        }
    }
}
