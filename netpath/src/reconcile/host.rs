//! The kernel of this host.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use super::{Kernel, Scope};
use crate::{
    kernel::{
        self, DeviceRole, NodeFacts,
        listeners::{self, Conflict, Published},
        netns,
    },
    plan::{Interface, Observed, Operation},
};

/// The namespace of the node in the kernel, and the directory of its sandboxes' namespaces.
pub struct Host {
    /// Netlink requests.
    pub kernel: kernel::Kernel,
    /// Where namespaces that netpath creates are mounted.
    pub netns_dir: PathBuf,
}

impl Kernel for Host {
    async fn facts(
        &self,
        uplinks: &[String],
        adopted: &BTreeSet<String>,
    ) -> Result<NodeFacts, kernel::Error> {
        self.kernel.facts(uplinks, adopted).await
    }

    async fn interface(
        &self,
        index: u32,
        uplinks: &[String],
        adopted: &BTreeSet<String>,
    ) -> Result<Option<(DeviceRole, Interface)>, kernel::Error> {
        self.kernel.interface(index, uplinks, adopted).await
    }

    async fn observe(
        &self,
        scope: &Scope<'_>,
        observed: &mut Observed,
    ) -> Result<(), kernel::Error> {
        observed.bridges = match scope.keys(|desired| &desired.bridges) {
            None => self.kernel.observe_bridges().await?,
            Some(names) => {
                let mut bridges = BTreeMap::new();
                for name in names {
                    if let Some(bridge) = self.kernel.observe_bridge(name).await? {
                        bridges.insert(name.clone(), bridge);
                    }
                }
                bridges
            }
        };
        match scope.members(|desired| &desired.namespaces) {
            None => {
                for path in netns::entries(&self.netns_dir)? {
                    if netns::inode(&path)?.is_some() {
                        observed.namespaces.insert(path);
                    } else {
                        observed.left_over.insert(path);
                    }
                }
            }
            Some(namespaces) => {
                for namespace in namespaces {
                    if netns::inode(&namespace.path)?.is_some() {
                        observed.namespaces.insert(namespace.path.clone());
                    } else if netns::is_left_over(&namespace.path)? {
                        observed.left_over.insert(namespace.path.clone());
                    }
                }
            }
        }
        let veths = match scope.keys(|desired| &desired.veths) {
            None => self.kernel.observe_veths().await?,
            Some(names) => {
                let mut veths = BTreeMap::new();
                for name in names {
                    if let Some(veth) = self.kernel.observe_veth(name).await? {
                        veths.insert(name.clone(), veth);
                    }
                }
                veths
            }
        };
        for (name, (index, mut veth)) in veths {
            if let Some(wanted) = scope.inside_of(&name, &veth) {
                veth.inside = self.kernel.observe_inside(wanted, index).await?;
            }
            observed.veths.insert(name, veth);
        }
        Ok(())
    }

    async fn execute(&mut self, operation: &Operation) -> Result<(), kernel::Error> {
        match operation {
            Operation::DeleteVeth { name } | Operation::DeleteBridge { name } => {
                self.kernel.delete_link(name).await
            }
            Operation::DeleteNamespace(path) => netns::delete(path),
            Operation::SetBridge { name, bridge } => self.kernel.set_bridge(name, bridge).await,
            Operation::CreateNamespace(namespace) => {
                netns::create(&namespace.path, namespace.forwarding)
            }
            Operation::CreateVeth { name, veth } => self.kernel.create_veth(name, veth).await,
            Operation::SetVeth {
                name,
                bridge,
                mtu,
                rate,
            } => self.kernel.set_veth(name, bridge, *mtu, *rate).await,
            Operation::SetInside { name, veth, first } => {
                self.kernel.set_inside(name, veth, *first).await
            }
            Operation::RestoreInside {
                name,
                veth,
                addresses,
                gateways,
            } => {
                let kernel = &self.kernel;
                kernel.restore_inside(name, veth, addresses, gateways).await
            }
            Operation::SetInsideMtu { name, veth } => self.kernel.set_inside_mtu(name, veth).await,
            Operation::MoveGateway {
                name,
                veth,
                gateway,
            } => self.kernel.move_gateway(name, veth, *gateway).await,
            _ => Ok(()),
        }
    }

    fn port_conflicts(&self, published: &[Published]) -> Result<Vec<Conflict>, kernel::Error> {
        listeners::conflicts(published)
    }

    fn abort_connected(&mut self, addresses: &[IpAddr]) {
        // Not part of the desired state: logged, not fatal.
        match listeners::abort_connected(addresses) {
            Ok(0) => {}
            Ok(sockets) => {
                tracing::info!(
                    sockets,
                    "aborted UDP sockets connected to removed endpoints"
                );
            }
            Err(error) => {
                tracing::warn!(%error, "cannot abort UDP sockets connected to removed endpoints");
            }
        }
    }
}
