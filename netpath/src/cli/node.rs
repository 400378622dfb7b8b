//! `netpath node`.

use clap::Subcommand;

use super::{
    Context, Outcome,
    failure::Failure,
    output::{self, Column, Format, Row},
};
use crate::frontend::http::v1::Node;

/// The nodes of the cluster
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  netpath node ls")]
pub(super) enum Command {
    /// List the nodes
    #[command(
        after_help = "Example:\n  netpath node ls -o json",
        visible_alias = "list"
    )]
    Ls,
    /// Show nodes in full
    #[command(after_help = "Example:\n  netpath node inspect host-b -o json")]
    Inspect {
        /// Nodes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Remove nodes that no longer exist: their addresses are released, and other nodes send them no packets
    #[command(after_help = "Example:\n  netpath node rm host-b")]
    Rm {
        /// Nodes
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Also remove nodes whose daemon is running
        #[arg(long)]
        force: bool,
    },
}

/// Executes `command`.
pub(super) async fn execute(context: &Context, command: Command) -> Outcome {
    let client = &context.client;
    match command {
        Command::Ls => {
            let nodes = client.nodes().await;
            let nodes = nodes.map_err(Failure::api("node ls", ""))?;
            output::rows(context.format, &nodes)?;
        }
        Command::Inspect { names } => {
            let mut nodes = Vec::with_capacity(names.len());
            for name in &names {
                let node = client.node(name).await;
                nodes.push(node.map_err(Failure::api("node inspect", name))?);
            }
            match context.format {
                Format::Table => {
                    let shown: Vec<String> = nodes.iter().map(describe).collect();
                    output::text(&shown.join("\n"))?;
                }
                Format::Json => output::json(&nodes)?,
            }
        }
        Command::Rm { names, force } => {
            for name in &names {
                let removed = client.remove_node(name, force).await;
                removed.map_err(Failure::api("node rm", name))?;
                output::text(&format!("{name}\n"))?;
            }
        }
    }
    Ok(0)
}

impl Row for Node {
    const COLUMNS: &'static [Column] = &[
        "NAME",
        "STATE",
        "ADDRESSES",
        "VERSION",
        "NETWORKS",
        "LAST SEEN",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.name.clone(),
            self.state.clone(),
            output::list(&self.addresses),
            self.version.clone(),
            output::list(&self.networks),
            last_seen(self),
        ]
    }
}

fn describe(node: &Node) -> String {
    output::pairs(&[
        ("name", node.name.clone()),
        ("state", node.state.clone()),
        ("addresses", output::list(&node.addresses)),
        ("version", node.version.clone()),
        ("networks", output::list(&node.networks)),
        ("last seen", last_seen(node)),
    ])
}

fn last_seen(node: &Node) -> String {
    match node.last_seen_s {
        0 => "now".to_owned(),
        seconds => format!("{seconds} s ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frontend::http::tests::fake;

    #[test]
    fn node_is_shown_as_row_and_in_full() {
        let node = fake::node("host-b");
        assert_eq!(
            output::table(Node::COLUMNS, [node.cells()]),
            "\
NAME    STATE        ADDRESSES    VERSION  NETWORKS  LAST SEEN
host-b  unreachable  192.0.2.129  0.1.0    web       12 s ago
"
        );
        assert_eq!(
            describe(&node),
            "\
name:       host-b
state:      unreachable
addresses:  192.0.2.129
version:    0.1.0
networks:   web
last seen:  12 s ago
"
        );
    }
}
