//! Requests of the API.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::sync::broadcast;

use super::{DaemonError, Shared, node::Node, present, status, teardown};
use crate::{
    api::{
        service::{ApiError, Service},
        v1,
    },
    datapath::dump::{self, DumpError},
    kernel::{netns, process},
    model::{
        Change, Name, PortSpec, Sandbox, parse_mac,
        request::{NetworkChoice, NetworkRequest, SandboxRequest, Source},
    },
};

/// Answers requests with what all parts of the daemon share.
pub struct Api(pub(super) Arc<Shared>);

impl Api {
    fn tell(&self, action: v1::Action, object: v1::ObjectKind, name: &str) {
        present::send(&self.0.events, action, object, name, None);
    }

    /// After sandboxes or ports went: their flows are over, and leave the table.
    fn flows_went(&self) {
        self.0.sweep_now.notify_one();
    }
}

impl Service for Api {
    async fn networks(&self) -> Result<Vec<v1::Network>, ApiError> {
        let node = self.0.node.lock().await;
        Ok(node
            .state
            .networks()
            .map(|network| node.network(network))
            .collect())
    }

    async fn network(&self, network: &str) -> Result<v1::Network, ApiError> {
        let node = self.0.node.lock().await;
        Ok(node.network(node.state.network(&name(network)?).map_err(unknown)?))
    }

    async fn create_network(&self, request: v1::NetworkCreate) -> Result<v1::Network, ApiError> {
        let request = NetworkRequest {
            name: name(&request.name)?,
            driver: request.driver.into(),
            subnets: request.subnets,
            gateways: request.gateways,
            ip_ranges: request.ip_range.into_iter().collect(),
            ipv6: request.ipv6,
            internal: request.internal,
            icc: request.icc,
            masquerade: request.masquerade,
            gateway_mode: request.gateway_mode.into(),
            mtu: request.mtu,
            vni: request.vni,
            labels: request.labels,
        };
        let mut node = self.0.node.lock().await;
        let change = node
            .answer_with_routes(|state, env| state.create_network(&request, env))
            .await?;
        node.make(&change).await?;
        self.tell(
            v1::Action::Created,
            v1::ObjectKind::Network,
            request.name.as_str(),
        );
        Ok(node.network(node.state.network(&request.name).map_err(unknown)?))
    }

    async fn remove_network(&self, network: &str) -> Result<(), ApiError> {
        let name = name(network)?;
        self.0
            .node
            .lock()
            .await
            .request(|state, _| state.remove_network(&name))
            .await?;
        self.tell(v1::Action::Removed, v1::ObjectKind::Network, network);
        Ok(())
    }

    async fn connect(&self, network: &str, request: v1::Connect) -> Result<v1::Sandbox, ApiError> {
        let (network, sandbox) = (name(network)?, name(&request.sandbox)?);
        let ips: Vec<_> = request.ip.into_iter().collect();
        let mut node = self.0.node.lock().await;
        let change = node
            .request(|state, env| state.connect(&network, &sandbox, &ips, env))
            .await?;
        self.tell(
            v1::Action::Connected,
            v1::ObjectKind::Sandbox,
            sandbox.as_str(),
        );
        changed(&node, &change)
    }

    async fn disconnect(
        &self,
        network: &str,
        request: v1::Disconnect,
    ) -> Result<v1::Sandbox, ApiError> {
        let (network, sandbox) = (name(network)?, name(&request.sandbox)?);
        let mut node = self.0.node.lock().await;
        let change = node
            .request(|state, _| state.disconnect(&network, &sandbox))
            .await?;
        self.flows_went();
        self.tell(
            v1::Action::Disconnected,
            v1::ObjectKind::Sandbox,
            sandbox.as_str(),
        );
        changed(&node, &change)
    }

    async fn sandboxes(&self) -> Result<Vec<v1::Sandbox>, ApiError> {
        let node = self.0.node.lock().await;
        Ok(node
            .state
            .sandboxes()
            .map(|sandbox| node.sandbox(sandbox))
            .collect())
    }

    async fn sandbox(&self, sandbox: &str) -> Result<v1::Sandbox, ApiError> {
        let node = self.0.node.lock().await;
        Ok(node.sandbox(node.state.sandbox(&name(sandbox)?).map_err(unknown)?))
    }

    async fn create_sandbox(&self, request: v1::SandboxCreate) -> Result<v1::Sandbox, ApiError> {
        let owner = request.owner_pid.map(process_of).transpose()?;
        let request = SandboxRequest {
            name: request.name.as_deref().map(name).transpose()?,
            networks: request
                .networks
                .iter()
                .map(|text| choice(text))
                .collect::<Result<_, _>>()?,
            ports: specs(&request.publish)?,
            allow: request.allow,
            ips: request.ip.into_iter().collect(),
            mac: request.mac.as_deref().map(mac).transpose()?,
            hostname: request.hostname,
            source: self.source(request.netns.as_deref(), request.pid)?,
            owner,
        };
        let mut node = self.0.node.lock().await;
        let change = node
            .request(|state, env| state.create_sandbox(&request, env))
            .await?;
        let sandbox = changed(&node, &change)?;
        self.0.sandboxes_changed.notify_one();
        self.tell(v1::Action::Created, v1::ObjectKind::Sandbox, &sandbox.name);
        Ok(sandbox)
    }

    async fn remove_sandbox(&self, sandbox: &str) -> Result<(), ApiError> {
        let name = name(sandbox)?;
        self.0
            .node
            .lock()
            .await
            .request(|state, _| state.remove_sandbox(&name))
            .await?;
        self.flows_went();
        self.0.sandboxes_changed.notify_one();
        self.tell(v1::Action::Removed, v1::ObjectKind::Sandbox, sandbox);
        Ok(())
    }

    async fn ports(&self, sandbox: Option<&str>) -> Result<Vec<v1::Port>, ApiError> {
        let node = self.0.node.lock().await;
        let of = |sandbox: &Sandbox| node.ports(sandbox, &sandbox.ports);
        match sandbox {
            Some(sandbox) => Ok(of(node.state.sandbox(&name(sandbox)?).map_err(unknown)?)),
            None => Ok(node.state.sandboxes().flat_map(of).collect()),
        }
    }

    async fn publish(&self, request: v1::Publish) -> Result<Vec<v1::Port>, ApiError> {
        let sandbox = name(&request.sandbox)?;
        let specs = specs(&request.publish)?;
        let mut node = self.0.node.lock().await;
        let change = node
            .request(|state, env| state.publish(&sandbox, &specs, &request.allow, env))
            .await?;
        self.tell(
            v1::Action::Published,
            v1::ObjectKind::Port,
            sandbox.as_str(),
        );
        let Change::Sandbox {
            before: Some(before),
            after: Some(after),
        } = change
        else {
            return Ok(Vec::new());
        };
        let new = after.ports.get(before.ports.len()..).unwrap_or_default();
        Ok(node.ports(&after, new))
    }

    async fn unpublish(&self, request: v1::Unpublish) -> Result<(), ApiError> {
        let sandbox = name(&request.sandbox)?;
        let specs = specs(&request.publish)?;
        self.0
            .node
            .lock()
            .await
            .request(|state, _| state.unpublish(&sandbox, &specs))
            .await?;
        self.flows_went();
        self.tell(
            v1::Action::Unpublished,
            v1::ObjectKind::Port,
            sandbox.as_str(),
        );
        Ok(())
    }

    async fn maps(&self) -> Result<Vec<v1::MapInfo>, ApiError> {
        dump::list(&self.0.config.bpf_dir).map_err(unreadable)
    }

    async fn map(&self, table: v1::MapTable) -> Result<v1::MapDump, ApiError> {
        let bpf_dir = &self.0.config.bpf_dir;
        let dump = match table {
            v1::MapTable::Nat => dump::nat(bpf_dir).map(v1::MapDump::Nat),
            v1::MapTable::Ports => dump::ports(bpf_dir).map(v1::MapDump::Ports),
            v1::MapTable::Endpoints => dump::endpoints(bpf_dir).map(v1::MapDump::Endpoints),
            v1::MapTable::Networks => dump::networks(bpf_dir).map(v1::MapDump::Networks),
            v1::MapTable::Counters => dump::counters(bpf_dir).map(v1::MapDump::Counters),
            v1::MapTable::Fragments => dump::fragments(bpf_dir).map(v1::MapDump::Fragments),
            v1::MapTable::Peers => Ok(v1::MapDump::Empty([])),
        };
        dump.map_err(unreadable)
    }

    async fn status(&self) -> Result<v1::Status, ApiError> {
        let mut node = self.0.node.lock().await;
        Ok(status::of(&mut node, &self.0.config)?)
    }

    async fn teardown(&self) -> Result<(), ApiError> {
        let mut node = self.0.node.lock().await;
        teardown::of_node(&mut node, &self.0.config).await?;
        self.0.end.notify_one();
        Ok(())
    }

    fn events(&self) -> broadcast::Receiver<v1::Event> {
        self.0.events.subscribe()
    }
}

impl Api {
    fn source(&self, path: Option<&Path>, pid: Option<i32>) -> Result<Source, ApiError> {
        match (path, pid) {
            (None, None) => Ok(Source::Created {
                directory: self.0.config.run_dir.join("netns"),
            }),
            (Some(path), None) => {
                let path = resolved(path).map_err(|error| {
                    let path = path.display();
                    ApiError::not_found(match error.kind() {
                        io::ErrorKind::NotFound => format!("there is nothing at '{path}'"),
                        _ => format!("cannot look at '{path}': {error}"),
                    })
                })?;
                let inode = netns::inode(&path).map_err(DaemonError::from)?;
                let inode = inode.ok_or_else(|| {
                    ApiError::invalid(format!("'{}' is not a network namespace", path.display()))
                        .hint("give the path of a namespace, such as /run/netns/NAME or /proc/PID/ns/net")
                })?;
                self.not_own(inode)?;
                Ok(Source::Path { path, inode })
            }
            (None, Some(pid)) => {
                let process = process_of(pid)?;
                let inode = process::netns_inode(pid).map_err(DaemonError::from)?;
                let inode = inode
                    .ok_or_else(|| ApiError::not_found(format!("there is no process {pid}")))?;
                self.not_own(inode)?;
                Ok(Source::Process {
                    process,
                    path: process::netns_path(pid),
                    inode,
                })
            }
            (Some(_), Some(_)) => Err(ApiError::invalid(
                "a sandbox cannot be adopted by path and by process",
            )
            .hint("give either a namespace's path or a process")),
        }
    }

    fn not_own(&self, inode: u64) -> Result<(), ApiError> {
        if netns::current_inode().map_err(DaemonError::from)? == inode {
            return Err(
                ApiError::invalid("that is the node's own network namespace")
                    .hint("use the network 'host'"),
            );
        }
        Ok(())
    }
}

/// The path without symbolic links, except for one of procfs at its end, which leads to something without a path.
fn resolved(path: &Path) -> io::Result<PathBuf> {
    match (fs::canonicalize(path), path.parent(), path.file_name()) {
        (Err(_), Some(parent), Some(name)) if path.exists() => {
            Ok(fs::canonicalize(parent)?.join(name))
        }
        (result, ..) => result,
    }
}

fn changed(node: &Node, change: &Change) -> Result<v1::Sandbox, ApiError> {
    match change {
        Change::Sandbox {
            after: Some(sandbox),
            ..
        } => Ok(node.sandbox(sandbox)),
        _ => Err(ApiError::internal("the request has not led to a sandbox")),
    }
}

fn name(text: &str) -> Result<Name, ApiError> {
    text.parse()
        .map_err(|error| ApiError::invalid(format!("{error}")))
}

fn choice(text: &str) -> Result<NetworkChoice, ApiError> {
    text.parse()
        .map_err(|error: String| ApiError::invalid(error))
}

fn specs(texts: &[String]) -> Result<Vec<PortSpec>, ApiError> {
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| ApiError::invalid(format!("{error}")))
        })
        .collect()
}

fn mac(text: &str) -> Result<netpath_common::addr::MacAddr, ApiError> {
    parse_mac(text).ok_or_else(|| {
        ApiError::invalid(format!("'{text}' is not a MAC address"))
            .hint("write it like 02:42:ac:11:00:02")
    })
}

fn process_of(pid: i32) -> Result<crate::model::ProcessId, ApiError> {
    let process = process::identify(pid).map_err(DaemonError::from)?;
    process.ok_or_else(|| ApiError::not_found(format!("there is no process {pid}")))
}

fn unknown(error: impl Into<crate::model::request::RequestError>) -> ApiError {
    error.into().into()
}

fn unreadable(error: DumpError) -> ApiError {
    ApiError::internal(error.to_string())
}
