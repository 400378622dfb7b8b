//! `netpath port`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Subcommand;
use ipnet::IpNet;

use super::{
    Context, Outcome,
    failure::Failure,
    output::{self, Column, Row},
};
use crate::frontend::http::v1::{AddressFamily, Port, Publish, Unpublish};

/// Published ports
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  netpath port publish web 8080:80")]
pub(super) enum Command {
    /// Publish ports of a sandbox at addresses of the node
    #[command(
        after_help = "Example:\n  netpath port publish web 127.0.0.1:8080:80/tcp --allow 10.0.0.0/8"
    )]
    Publish {
        /// Sandbox
        sandbox: String,
        /// Ports to publish, as with Docker
        #[arg(required = true, value_name = "SPEC", help = super::sandbox::SPEC)]
        publish: Vec<String>,
        /// Sources that may use them; repeatable [default: all]
        #[arg(long, value_name = "CIDR")]
        allow: Vec<IpNet>,
        /// Also publish ports of a sandbox of another owner
        #[arg(long)]
        force: bool,
    },
    /// Withdraw ports of a sandbox
    #[command(after_help = "Example:\n  netpath port unpublish web 127.0.0.1:8080:80/tcp")]
    Unpublish {
        /// Sandbox
        sandbox: String,
        /// Ports to withdraw, in the form in which they were published
        #[arg(required = true, value_name = "SPEC")]
        publish: Vec<String>,
        /// Also withdraw ports of a sandbox of another owner
        #[arg(long)]
        force: bool,
    },
    /// List published ports
    #[command(
        after_help = "Example:\n  netpath port ls web -o json",
        visible_alias = "list"
    )]
    Ls {
        /// Only those of this sandbox
        sandbox: Option<String>,
    },
}

/// Executes `command`.
pub(super) async fn execute(context: &Context, command: Command) -> Outcome {
    let client = &context.client;
    match command {
        Command::Publish {
            sandbox,
            publish,
            allow,
            force,
        } => {
            let object = format!("{sandbox} {}", publish.join(" "));
            let request = Publish {
                sandbox,
                publish,
                allow,
            };
            let ports = client.publish(&request, force).await;
            let ports = ports.map_err(Failure::api("port publish", object))?;
            output::rows(context.format, &ports)?;
        }
        Command::Unpublish {
            sandbox,
            publish,
            force,
        } => {
            let object = format!("{sandbox} {}", publish.join(" "));
            let withdrawn = client
                .unpublish(&Unpublish { sandbox, publish }, force)
                .await;
            withdrawn.map_err(Failure::api("port unpublish", object))?;
        }
        Command::Ls { sandbox } => {
            let object = sandbox.clone().unwrap_or_default();
            let ports = client.ports(sandbox.as_deref()).await;
            let ports = ports.map_err(Failure::api("port ls", object))?;
            output::rows(context.format, &ports)?;
        }
    }
    Ok(0)
}

impl Row for Port {
    const COLUMNS: &'static [Column] = &[
        "SANDBOX",
        "NETWORK",
        "PROTOCOL",
        "HOST",
        "CONTAINER",
        "ALLOW",
    ];

    fn cells(&self) -> Vec<String> {
        let all = "all".to_owned();
        vec![
            self.sandbox.clone(),
            self.network.clone(),
            self.protocol.to_string(),
            served(self),
            range(
                Some(self.container_ip),
                self.container_port,
                self.container_port_end,
            ),
            if self.allow.is_empty() {
                all
            } else {
                output::list(&self.allow)
            },
        ]
    }
}

/// Where a port is served: `*:80` in both families, `0.0.0.0:80` or `[::]:80` in one.
pub(super) fn served(port: &Port) -> String {
    let address = match (port.host_ip, &port.families[..]) {
        (None, [AddressFamily::Ipv4]) => Some(Ipv4Addr::UNSPECIFIED.into()),
        (None, [AddressFamily::Ipv6]) => Some(Ipv6Addr::UNSPECIFIED.into()),
        (address, _) => address,
    };
    range(address, port.host_port, port.host_port_end)
}

/// `192.0.2.1:80`, `[::1]:80-89`, `*:80`.
pub(super) fn range(address: Option<IpAddr>, first: u16, last: u16) -> String {
    let address = match address {
        None => "*".to_owned(),
        Some(IpAddr::V4(address)) => address.to_string(),
        Some(IpAddr::V6(address)) => format!("[{address}]"),
    };
    if first == last {
        format!("{address}:{first}")
    } else {
        format!("{address}:{first}-{last}")
    }
}
