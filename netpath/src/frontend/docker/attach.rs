//! Endpoints over the veth pairs of containers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::{Path, PathBuf},
};

use netpath_common::addr::MacAddr;

use super::{
    CALLER, api,
    companion::Companion,
    engine::EngineError,
    network::{ID_LABEL, sandbox_name},
    prune,
};
use crate::{
    commands::{
        CommandError, ContainerLink, EndpointSpec, Foreign, ForeignVeth, NamespaceChoice,
        SandboxSpec,
    },
    model::{Name, Network, parse_mac},
};

/// Directory of the namespaces of containers.
const NAMESPACES: &str = "/run/docker/netns";

/// A veth pair with its container.
struct Found<'a> {
    veth: &'a ForeignVeth,
    network: &'a Network,
    netns: PathBuf,
    link: ContainerLink,
    mac: MacAddr,
    container: String,
}

impl Companion {
    /// Adopts the veth pairs on adopted bridges that are not adopted yet. Returns false if the container of one is not known yet.
    pub(super) async fn adopt_endpoints(&mut self, foreign: &Foreign) -> Result<bool, EngineError> {
        let networks = prune::networks(&self.commands).await;
        let endpoints = self.commands.endpoints().await;
        let adopted: BTreeSet<_> = endpoints
            .into_iter()
            .filter_map(|view| view.endpoint.adopted)
            .collect();
        let mut members = BTreeMap::new();
        let mut complete = true;
        for veth in &foreign.veths {
            let mut networks = networks.values();
            let Some(network) = networks.find(|network| network.bridge() == veth.bridge) else {
                continue;
            };
            if adopted.contains(&veth.name) {
                continue;
            }
            let object = format!("interface {} on bridge {}", veth.name, veth.bridge);
            match self.find(veth, network, &mut members).await? {
                Ok(None) => {}
                Ok(Some(None)) => complete = false,
                Ok(Some(Some(found))) => {
                    if let Err(error) = self.attach(&found).await {
                        self.problems.note(object, error);
                        complete = false;
                    }
                }
                Err(error) => self.problems.note(object, error),
            }
        }
        Ok(complete)
    }

    /// The container of a veth pair. `Ok(None)` if its container link is not configured yet: an event follows.
    /// `Ok(Some(None))` if the engine does not list the container yet.
    async fn find<'a>(
        &mut self,
        veth: &'a ForeignVeth,
        network: &'a Network,
        members: &mut BTreeMap<String, BTreeMap<String, api::Member>>,
    ) -> Result<Result<Option<Option<Found<'a>>>, CommandError>, EngineError> {
        let directory = Path::new(NAMESPACES);
        let (netns, link) = match self.commands.find_container_link(veth, directory).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(Ok(None)),
            Err(error) => return Ok(Err(error)),
        };
        let Some(mac) = link.mac.filter(|_| link.up && !link.addresses.is_empty()) else {
            return Ok(Ok(None));
        };
        let Some(id) = network.labels.get(ID_LABEL) else {
            return Ok(Ok(None));
        };
        if !members.contains_key(id) {
            let found = self.engine.network(id).await?.unwrap_or_default();
            members.insert(id.clone(), found.containers.unwrap_or_default());
        }
        let mut listed = members.get(id).into_iter().flatten();
        let container = listed.find(|(_, member)| is_member(member, mac, &link.addresses));
        let container = container.map(|(container, _)| container.clone());
        Ok(Ok(Some(container.map(|container| Found {
            veth,
            network,
            netns,
            link,
            mac,
            container,
        }))))
    }

    async fn attach(&mut self, found: &Found<'_>) -> Result<(), CommandError> {
        let Some(name) = sandbox_name(&found.container) else {
            return Ok(());
        };
        self.ensure_sandbox(&name, &found.netns).await?;
        let in_network = |ip: &&IpAddr| {
            let mut subnets = found.network.subnets.iter();
            subnets.any(|subnet| subnet.prefix.contains(*ip))
        };
        let spec = EndpointSpec {
            network: found.network.name.clone(),
            ips: found
                .link
                .addresses
                .iter()
                .filter(in_network)
                .copied()
                .collect(),
            mac: Some(found.mac),
            interface: Some(found.link.name.clone()),
            host_interface: Some(found.veth.name.clone()),
        };
        let endpoint = self.commands.create_endpoint(spec, CALLER).await?;
        let id = endpoint.endpoint.id;
        if let Err(error) = self.commands.join_endpoint(id, &name, CALLER).await {
            // Reported with the first error; the next pass tries again.
            let _ = self.commands.remove_endpoint(id, CALLER).await;
            return Err(error);
        }
        self.containers.request_once(&found.container);
        Ok(())
    }

    /// Creates the sandbox of a container. A sandbox of an earlier run of the container has another namespace, and is removed.
    async fn ensure_sandbox(&self, name: &Name, netns: &Path) -> Result<(), CommandError> {
        if let Ok(view) = self.commands.sandbox(name).await {
            if view.sandbox.netns == netns {
                return Ok(());
            }
            self.commands.remove_sandbox(name, CALLER).await?;
        }
        let spec = SandboxSpec {
            name: Some(name.clone()),
            networks: Vec::new(),
            ports: Vec::new(),
            allow: Vec::new(),
            ips: Vec::new(),
            mac: None,
            hostname: None,
            namespace: NamespaceChoice::Path(netns.to_owned()),
            process: None,
            rate: None,
            forwarding: false,
            unconnected: true,
        };
        self.commands.create_sandbox(spec, CALLER).await.map(drop)
    }
}

/// Whether the engine lists this MAC address or one of the addresses for a container.
fn is_member(member: &api::Member, mac: MacAddr, addresses: &[IpAddr]) -> bool {
    let address = |text: &str| text.split('/').next()?.parse::<IpAddr>().ok();
    parse_mac(&member.mac) == Some(mac)
        || [&member.v4, &member.v6]
            .into_iter()
            .filter_map(|text| address(text))
            .any(|ip| addresses.contains(&ip))
}
