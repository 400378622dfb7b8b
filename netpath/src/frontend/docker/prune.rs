//! Removal of objects whose device is gone.

use std::collections::BTreeMap;

use super::CALLER;
use crate::{
    commands::{CommandError, Commands, Foreign},
    model::{Name, Network, Owner},
};

/// Networks of owner `docker`, by name.
pub async fn networks(commands: &Commands) -> BTreeMap<Name, Network> {
    let views = commands.networks().await.into_iter();
    views
        .map(|view| view.network)
        .filter(|network| network.owner == Owner::Docker && network.adopted.is_some())
        .map(|network| (network.name.clone(), network))
        .collect()
}

/// Removes endpoints whose veth pair is gone or has left its bridge, and networks whose bridge is gone. Returns the devices of
/// the node. Sandboxes are removed by the daemon when their namespace is gone.
///
/// # Errors
/// If the devices cannot be listed.
pub async fn prune(commands: &Commands) -> Result<Foreign, CommandError> {
    let networks = networks(commands).await;
    let endpoints = commands.endpoints().await;
    // Listed after the objects: an object that is created in the meantime is not compared.
    let foreign = commands.foreign_devices().await?;
    for view in endpoints {
        let endpoint = &view.endpoint;
        let Some(device) = endpoint.adopted.as_ref() else {
            continue;
        };
        if endpoint.owner != Owner::Docker {
            continue;
        }
        let bridge = networks.get(&endpoint.network).map(Network::bridge);
        let mut veths = foreign.veths.iter();
        if veths.any(|veth| veth.name == *device && Some(&veth.bridge) == bridge.as_ref()) {
            continue;
        }
        remove_endpoint(commands, endpoint.id, view.sandbox.as_ref()).await;
    }
    for (name, network) in &networks {
        if !foreign.bridges.contains(&network.bridge()) {
            remove_network(commands, name).await;
        }
    }
    Ok(foreign)
}

/// Removes an endpoint. Its ports are withdrawn first if they cannot move to another network.
async fn remove_endpoint(commands: &Commands, id: crate::model::Id, sandbox: Option<&Name>) {
    let mut removed = commands.remove_endpoint(id, CALLER).await;
    if removed.is_err()
        && let Some(name) = sandbox
        && let Ok(view) = commands.sandbox(name).await
        && !view.sandbox.ports.is_empty()
    {
        let specs: Vec<_> = view.sandbox.ports.iter().map(Into::into).collect();
        removed = match commands.unpublish(name, &specs, CALLER).await {
            Ok(()) => commands.remove_endpoint(id, CALLER).await,
            Err(error) => Err(error),
        };
    }
    if let Err(error) = removed {
        tracing::warn!(endpoint = %id, %error, "cannot remove an endpoint whose device is gone");
    }
}

/// Removes a network of which no endpoint is left.
pub async fn remove_network(commands: &Commands, name: &Name) {
    match commands.remove_network(name, CALLER).await {
        Ok(()) => tracing::info!(network = %name, "its bridge was removed"),
        Err(error) => tracing::warn!(network = %name, %error, "cannot remove a network"),
    }
}
