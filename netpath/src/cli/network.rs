//! `netpath network`.

use std::net::IpAddr;

use clap::{ArgAction, Args, Subcommand};
use ipnet::IpNet;

use super::{
    Context, Outcome,
    failure::Failure,
    output::{self, Column, Format, Row},
};
use crate::{
    frontend::http::v1::{Connect, Disconnect, Driver, GatewayMode, Network, NetworkCreate},
    model::{Name, Rate},
};

/// Networks
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  netpath network create backend --subnet 10.5.0.0/24")]
pub(super) enum Command {
    /// Create a network and print its name
    #[command(
        after_help = "Example:\n  netpath network create backend --subnet 10.5.0.0/24 --internal"
    )]
    Create(Box<Create>),
    /// List networks
    #[command(
        after_help = "Example:\n  netpath network ls -o json",
        visible_alias = "list"
    )]
    Ls,
    /// Show networks in full
    #[command(after_help = "Example:\n  netpath network inspect bridge -o json")]
    Inspect {
        /// Networks
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove networks without sandboxes
    #[command(after_help = "Example:\n  netpath network rm backend")]
    Rm {
        /// Networks
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Also remove networks of other owners
        #[arg(long)]
        force: bool,
    },
    /// Connect a sandbox to a network
    #[command(after_help = "Example:\n  netpath network connect backend web --ip 10.5.0.9")]
    Connect {
        /// Network
        network: String,
        /// Sandbox
        sandbox: String,
        /// Address [default: a free one]
        #[arg(long)]
        ip: Option<IpAddr>,
        /// Limit of each direction, such as 10mbit or 1gbit, or in bits/s
        #[arg(long, value_name = "BITS/S")]
        rate: Option<Rate>,
        /// Also change a sandbox of another owner
        #[arg(long)]
        force: bool,
    },
    /// Disconnect a sandbox from a network
    #[command(after_help = "Example:\n  netpath network disconnect backend web")]
    Disconnect {
        /// Network
        network: String,
        /// Sandbox
        sandbox: String,
        /// Also change a sandbox of another owner
        #[arg(long)]
        force: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct Create {
    /// Name of the network
    name: Name,
    /// Driver
    #[arg(
        long,
        value_name = "bridge|overlay",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    driver: Driver,
    /// Subnet, at most one per family; repeatable [default: a free one]
    #[arg(long, value_name = "CIDR")]
    subnet: Vec<IpNet>,
    /// Gateway, at most one per family; repeatable [default: the first address of the subnet]
    #[arg(long, value_name = "IP")]
    gateway: Vec<IpAddr>,
    /// Part of a subnet that addresses are allocated from
    #[arg(long, value_name = "CIDR")]
    ip_range: Option<IpNet>,
    /// Add an IPv6 subnet
    #[arg(long)]
    ipv6: bool,
    /// Isolate the network: no external access, no published ports
    #[arg(long)]
    internal: bool,
    /// Whether sandboxes may exchange packets with each other
    #[arg(long, value_name = "on|off", value_parser = on_off, action = ArgAction::Set, default_value = "on")]
    icc: bool,
    /// Whether the source of outbound flows is translated to an address of the node
    #[arg(long, value_name = "on|off", value_parser = on_off, action = ArgAction::Set, default_value = "on")]
    masquerade: bool,
    /// How sandboxes are reached from outside
    #[arg(
        long,
        value_name = "nat|routed",
        value_enum,
        default_value_t,
        hide_possible_values = true
    )]
    gateway_mode: GatewayMode,
    /// MTU in bytes [default: that of the interfaces with a default route, or of the adopted bridge]
    #[arg(long, value_name = "N")]
    mtu: Option<u32>,
    /// VXLAN network identifier of an overlay network [default: a free one]
    #[arg(long, value_name = "N")]
    vni: Option<u32>,
    /// Encapsulation between the nodes of an overlay network [default: auto]
    #[arg(long, value_name = "vxlan|none|auto")]
    encap: Option<String>,
    /// Use a bridge that another program has created; netpath never changes or removes it
    #[arg(long, value_name = "IFNAME")]
    adopt: Option<String>,
    /// Label; repeatable
    #[arg(long, value_name = "K=V", value_parser = label)]
    label: Vec<(String, String)>,
}

impl Create {
    /// The request for the daemon.
    pub(super) fn request(self) -> NetworkCreate {
        NetworkCreate {
            driver: self.driver,
            subnets: self.subnet,
            gateways: self.gateway,
            ip_range: self.ip_range,
            ipv6: self.ipv6,
            internal: self.internal,
            icc: self.icc,
            masquerade: self.masquerade,
            gateway_mode: self.gateway_mode,
            mtu: self.mtu,
            vni: self.vni,
            encap: self.encap,
            adopt: self.adopt,
            labels: self.label.into_iter().collect(),
            ..NetworkCreate::named(self.name)
        }
    }
}

async fn create(context: &Context, request: NetworkCreate) -> Result<(), Failure> {
    let created = context.client.create_network(&request).await;
    let network = created.map_err(Failure::api("network create", &request.name))?;
    for warning in &network.warnings {
        output::complain(&format!("netpath network create: warning: {warning}\n"));
    }
    match context.format {
        Format::Table => output::text(&format!("{}\n", network.name))?,
        Format::Json => output::json(&[network])?,
    }
    Ok(())
}

async fn inspect(context: &Context, names: &[String]) -> Result<(), Failure> {
    let mut networks = Vec::with_capacity(names.len());
    for name in names {
        let network = context.client.network(name).await;
        networks.push(network.map_err(Failure::api("network inspect", name))?);
    }
    match context.format {
        Format::Table => {
            let shown: Vec<String> = networks.iter().map(describe).collect();
            output::text(&shown.join("\n"))?;
        }
        Format::Json => output::json(&networks)?,
    }
    Ok(())
}

/// Executes `command`.
pub(super) async fn execute(context: &Context, command: Command) -> Outcome {
    let client = &context.client;
    match command {
        Command::Create(arguments) => create(context, arguments.request()).await?,
        Command::Ls => {
            let networks = client
                .networks()
                .await
                .map_err(Failure::api("network ls", ""))?;
            output::rows(context.format, &networks)?;
        }
        Command::Inspect { names } => inspect(context, &names).await?,
        Command::Rm { names, force } => {
            for name in &names {
                let removed = client.remove_network(name, force).await;
                removed.map_err(Failure::api("network rm", name))?;
                output::text(&format!("{name}\n"))?;
            }
        }
        Command::Connect {
            network,
            sandbox,
            ip,
            rate,
            force,
        } => {
            let object = format!("{network} {sandbox}");
            let rate = rate.map(u64::from);
            let request = Connect { sandbox, ip, rate };
            let connected = client.connect(&network, &request, force).await;
            connected.map_err(Failure::api("network connect", object))?;
        }
        Command::Disconnect {
            network,
            sandbox,
            force,
        } => {
            let object = format!("{network} {sandbox}");
            let disconnected = client
                .disconnect(&network, &Disconnect { sandbox }, force)
                .await;
            disconnected.map_err(Failure::api("network disconnect", object))?;
        }
    }
    Ok(0)
}

impl Row for Network {
    const COLUMNS: &'static [Column] = &[
        "NAME",
        "ID",
        "DRIVER",
        "SCOPE",
        "OWNER",
        "SUBNETS",
        "GATEWAYS",
        "MTU#",
        "SANDBOXES#",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.id.clone(),
            self.driver.to_string(),
            self.scope.to_string(),
            self.owner.to_string(),
            output::list(&self.subnets),
            output::list(&self.gateways),
            self.mtu.to_string(),
            self.sandboxes.len().to_string(),
        ]
    }
}

fn describe(network: &Network) -> String {
    let labels = network
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"));
    output::pairs(&[
        ("name", network.name.clone()),
        ("id", network.id.clone()),
        ("driver", network.driver.to_string()),
        ("scope", network.scope.to_string()),
        ("owner", network.owner.to_string()),
        ("adopted", network.adopted.clone().unwrap_or_default()),
        ("subnets", output::list(&network.subnets)),
        ("gateways", output::list(&network.gateways)),
        ("mtu", network.mtu.to_string()),
        (
            "vni",
            network.vni.map(|vni| vni.to_string()).unwrap_or_default(),
        ),
        ("encap", network.encap.clone().unwrap_or_default()),
        ("internal", output::yes_no(network.internal)),
        ("icc", output::yes_no(network.icc)),
        ("masquerade", output::yes_no(network.masquerade)),
        ("gateway mode", network.gateway_mode.to_string()),
        ("sandboxes", output::list(&network.sandboxes)),
        ("labels", output::list(labels)),
    ])
}

fn on_off(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("it must be 'on' or 'off'".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("it must be KEY=VALUE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::http::tests::fake;

    #[test]
    fn network_is_shown_as_row_and_in_full() {
        let network = fake::network("backend");
        assert_eq!(
            output::table(Network::COLUMNS, [network.cells()]),
            "\
NAME     ID            DRIVER  SCOPE  OWNER    SUBNETS        GATEWAYS     MTU  SANDBOXES
backend  0123456789ab  bridge  local  netpath  172.17.0.0/24  172.17.0.1  1500          1
"
        );
        assert_eq!(
            describe(&network),
            "\
name:          backend
id:            0123456789ab
driver:        bridge
scope:         local
owner:         netpath
subnets:       172.17.0.0/24
gateways:      172.17.0.1
mtu:           1500
internal:      no
icc:           yes
masquerade:    yes
gateway mode:  nat
sandboxes:     web
labels:        tier=front
"
        );
    }
}
