//! What programs of the node use: ports and prefixes.

use std::{
    cell::OnceCell,
    collections::{BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use super::{CommandError, Node};
use crate::{
    kernel::{
        self, Prefixes,
        listeners::{self, Published},
    },
    model::{
        Owner, Protocol, State,
        request::{BuiltIn, Env, RequestError},
    },
    plan::Desired,
    reconcile::{self, Kernel},
};

impl<K: Kernel, D: reconcile::Datapath> Node<K, D> {
    /// Reports sockets that hold published ports: in the status, and once in the log.
    pub(super) fn watch_port_conflicts(&mut self, desired: &Desired) {
        const TOPIC: &str = "published ports";
        // In gateway mode `routed`, a port is published on the address of its sandbox.
        let hosts = &self.facts.facts.host_addresses;
        let is_of_node =
            |ip: &IpAddr| ip.is_unspecified() || ip.is_loopback() || hosts.contains(ip);
        let published: Vec<_> = desired
            .entries
            .ports
            .iter()
            .filter(|(key, entry)| {
                !entry.held_by_engine && key.host_ip.as_ref().is_none_or(is_of_node)
            })
            .map(|(key, _)| Published {
                protocol: key.protocol,
                host_ip: key.host_ip,
                first: key.first,
                last: key.last,
            })
            .collect();
        let conflicts = match self.reconciler.kernel.port_conflicts(&published) {
            Ok(conflicts) => conflicts,
            Err(error) => {
                tracing::warn!(%error, "cannot compare published ports with the sockets of the node");
                return;
            }
        };
        if conflicts.is_empty() {
            self.degraded.remove(TOPIC);
            return;
        }
        let texts: Vec<_> = conflicts.iter().map(ToString::to_string).collect();
        let text = texts.join("; ");
        if self.degraded.get(TOPIC) != Some(&text) {
            tracing::warn!("{text}");
        }
        self.degraded.insert(TOPIC, text);
    }
}

impl Node {
    /// Stores the built-in networks that do not exist yet. The first reconcile creates them. Without a free subnet, the network
    /// `bridge` is left out and the status reports it.
    ///
    /// # Errors
    /// The store cannot be written, or the routes of the node cannot be read.
    pub async fn add_built_in(&mut self) -> Result<(), CommandError> {
        let prefixes = self.foreign_prefixes().await?;
        let mut wanted = BuiltIn::All;
        loop {
            let missing = self.evaluate(&prefixes, &[], |state, env| {
                state.missing_built_in(wanted, env)
            });
            match missing {
                Ok(Some(change)) => self.record(&change)?,
                Ok(None) => return Ok(()),
                Err(CommandError::Request(error @ RequestError::PoolsExhausted { .. }))
                    if wanted == BuiltIn::All =>
                {
                    let text = format!("{error}; the daemon tries again at its next start");
                    tracing::warn!("{text}");
                    self.degraded.insert("built-in network", text);
                    wanted = BuiltIn::WithoutSubnets;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Evaluates a request that may allocate a subnet, with the prefixes of the node. The caller applies its change.
    ///
    /// # Errors
    /// The request is refused, or the routes of the node cannot be read.
    pub(super) async fn evaluate_with_routes<T>(
        &self,
        request: impl FnOnce(&State, &mut Env<'_>) -> Result<T, RequestError>,
    ) -> Result<T, CommandError> {
        let prefixes = self.foreign_prefixes().await?;
        self.evaluate(&prefixes, &[], request)
    }

    /// Prefixes of the node, without those of netpath's networks.
    pub(super) async fn foreign_prefixes(&self) -> Result<Prefixes, kernel::Error> {
        let mut prefixes = self.reconciler.kernel.kernel.prefixes().await?;
        let own: BTreeSet<_> = self
            .state()
            .networks()
            .flat_map(|network| network.subnets.iter().map(|subnet| subnet.prefix))
            .collect();
        for list in [&mut prefixes.connected, &mut prefixes.routed] {
            list.retain(|prefix| !own.contains(prefix));
        }
        Ok(prefixes)
    }
}

/// Sockets of the node, read at most once per request.
#[derive(Default)]
pub(super) struct Sockets {
    by_port: OnceCell<HashMap<(Protocol, u16), Vec<listeners::Listener>>>,
    /// Inodes of the sockets of Docker Engine.
    of_docker: OnceCell<HashSet<u64>>,
}

/// Programs of Docker Engine that bind the published ports of containers.
const DOCKER_PROGRAMS: [&str; 2] = ["dockerd", "docker-proxy"];

impl Sockets {
    /// The program that uses a port, other than the engine that binds it for its own container.
    pub(super) fn owner(
        &self,
        engine: Owner,
        protocol: Protocol,
        ip: Option<IpAddr>,
        port: u16,
    ) -> Option<String> {
        let listeners = self
            .by_port
            .get_or_init(read_listeners)
            .get(&(protocol, port))?;
        let holds = |listener: &&listeners::Listener| {
            engine == Owner::Docker
                && self
                    .of_docker
                    .get_or_init(|| listeners::sockets_of(&DOCKER_PROGRAMS))
                    .contains(&listener.inode)
        };
        let mut serving = listeners.iter().filter(|listener| listener.serves(ip));
        let listener = serving.find(|listener| !holds(listener))?;
        let owner = listeners::owner(listener.inode);
        Some(owner.unwrap_or_else(|| "another program".to_owned()))
    }
}

fn read_listeners() -> HashMap<(Protocol, u16), Vec<listeners::Listener>> {
    let mut by_port: HashMap<_, Vec<_>> = HashMap::new();
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        match listeners::all(protocol) {
            Ok(all) => {
                for listener in all {
                    by_port
                        .entry((protocol, listener.port))
                        .or_default()
                        .push(listener);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot read the sockets of the node"),
        }
    }
    by_port
}
