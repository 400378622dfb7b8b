//! What a node and the other nodes of its cluster change: overlay networks, and claims of addresses.

use std::{net::IpAddr, time::SystemTime};

use netpath_common::addr::MacAddr;

use super::{CommandError, Stored};
use crate::{
    model::{
        Layout, Name, Network, OwnClaims,
        claims::{Claims, Lost},
        request::RequestError,
    },
    store::objects::{self, overlays},
};

impl Stored {
    /// Loads what this node knows of its cluster. Returns whether it has changed.
    ///
    /// # Errors
    /// If the store cannot be read, or its objects are invalid; the state is unchanged then.
    pub(super) fn load_cluster(&mut self, node: &Name) -> Result<bool, CommandError> {
        let cluster = overlays::load_cluster(self.store().as_ref(), node)?;
        let changed = cluster != *self.state().cluster();
        if changed {
            self.state_mut().set_cluster(cluster);
        }
        Ok(changed)
    }

    /// Removes an overlay network.
    ///
    /// # Errors
    /// Nodes use it, or the store fails.
    pub(super) fn remove_overlay(&mut self, node: &Name, name: &Name) -> Result<(), CommandError> {
        let nodes = overlays::remove_network(self.store().as_ref(), name)?;
        if !nodes.is_empty() {
            let name = name.clone();
            return Err(RequestError::InUseOn { name, nodes }.into());
        }
        self.load_cluster(node)?;
        Ok(())
    }

    /// Claims a further block of an overlay network.
    ///
    /// # Errors
    /// No block is free, the network does not exist, or the store fails.
    pub(super) fn claim_block(&mut self, node: &Name, network: &Name) -> Result<(), CommandError> {
        let layout = self.layout(network)?;
        let since = now_ms();
        self.change_claims(node, network, |claims| {
            let claimed = claims.claim(&layout, node, since);
            claimed.map(drop).ok_or_else(|| {
                let network = network.clone();
                RequestError::BlocksExhausted { network }.into()
            })
        })
    }

    /// Claims a single address of an overlay network. With `mac`, its endpoint has this MAC address.
    ///
    /// # Errors
    /// The address belongs to another node, the network does not exist, or the store fails.
    pub(super) fn keep_address(
        &mut self,
        node: &Name,
        network: &Name,
        ip: IpAddr,
        mac: Option<MacAddr>,
    ) -> Result<(), CommandError> {
        let layout = self.layout(network)?;
        let since = now_ms();
        self.change_claims(node, network, |claims| {
            let kept = claims.keep(&layout, ip, node, since, mac);
            kept.map_err(|reason| {
                let network = network.clone();
                RequestError::Claimed {
                    network,
                    ip,
                    reason,
                }
                .into()
            })
        })
    }

    /// Releases single addresses of an overlay network.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn forget_addresses(
        &mut self,
        node: &Name,
        network: &Name,
        ips: &[IpAddr],
    ) -> Result<(), CommandError> {
        // The own record comes first: a claim that it does not have is released later, even after a crash.
        let own = self.state().own_claims().get(network).cloned();
        if let Some(mut own) = own {
            for ip in ips {
                own.kept.remove(ip);
            }
            self.record_own(network, Some(own))?;
        }
        self.change_claims(node, network, |claims| {
            ips.iter().for_each(|ip| claims.forget(*ip, node));
            Ok(())
        })
    }

    /// Releases every claim of this node in an overlay network.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn release_claims(
        &mut self,
        node: &Name,
        network: &Name,
    ) -> Result<(), CommandError> {
        self.record_own(network, None)?;
        self.change_claims(node, network, |claims| {
            claims.release(node);
            Ok(())
        })
    }

    /// Makes the claims in the store equal to those that this node has recorded: after a restart of the node, and after the
    /// store was restored from a snapshot. Returns those that other nodes have; this node has given them up.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn assert_claims(
        &mut self,
        node: &Name,
        network: &Name,
    ) -> Result<Vec<Lost>, CommandError> {
        let own = self.state().own_claims().get(network).cloned();
        let found = self.state().cluster().network(network);
        let found = found.map(|entry| (entry.claims.clone(), Layout::of(&entry.network.subnets)));
        let Some((claims, layout)) = found else {
            return Ok(Vec::new());
        };
        let own = own
            .filter(|own| own.network == claims.network)
            .unwrap_or_else(|| OwnClaims::of(&Claims::of(claims.network), &layout, node));
        let stored = OwnClaims::of(&claims, &layout, node).after(&layout, Some(&own));
        if stored == own && !claims.is_disputed(node) {
            return Ok(Vec::new());
        }
        let mut lost = Vec::new();
        self.change_claims(node, network, |claims| {
            lost = claims.assert(&layout, node, &own);
            Ok(())
        })?;
        Ok(lost)
    }

    /// Stores the objects of an overlay network that this node uses and the store has lost. Returns whether it is in the
    /// store afterwards.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn restore_overlay(
        &mut self,
        node: &Name,
        network: &Network,
    ) -> Result<bool, CommandError> {
        let claims = Claims::of(network.id);
        let restored = overlays::restore_network(self.store().as_ref(), network, &claims)?;
        self.load_cluster(node)?;
        Ok(restored)
    }

    /// Forgets the claims of this node. Those in the store are not changed.
    ///
    /// # Errors
    /// The store fails.
    pub(super) fn give_up_claims(&mut self) -> Result<(), CommandError> {
        let networks: Vec<Name> = self.state().own_claims().keys().cloned().collect();
        let mut networks = networks.iter();
        networks.try_for_each(|network| self.record_own(network, None))
    }

    /// Changes the claims in a network in the store, records those of this node, and loads the cluster.
    fn change_claims(
        &mut self,
        node: &Name,
        network: &Name,
        change: impl FnMut(&mut Claims) -> Result<(), CommandError>,
    ) -> Result<(), CommandError> {
        let claims = overlays::change_claims(self.store().as_ref(), network, change)?;
        if let Some(claims) = claims {
            let layout = self.layout(network)?;
            let before = self.state().own_claims().get(network);
            let own = OwnClaims::of(&claims, &layout, node).after(&layout, before);
            let own = (!own.is_empty()).then_some(own);
            self.record_own(network, own)?;
        }
        self.load_cluster(node)?;
        Ok(())
    }

    /// Records the claims of this node in one network.
    fn record_own(&mut self, network: &Name, own: Option<OwnClaims>) -> Result<(), CommandError> {
        if self.state().own_claims().get(network) == own.as_ref() {
            return Ok(());
        }
        let store = std::sync::Arc::clone(self.store());
        let revision = overlays::store_own_claims(store.as_ref(), network, own.as_ref())?;
        self.mark_own(revision);
        self.state_mut().set_own_claims(network, own);
        Ok(())
    }

    fn layout(&self, network: &Name) -> Result<Layout, CommandError> {
        let state = self.state();
        let cluster = state.cluster().network(network);
        match cluster {
            Some(entry) => Ok(Layout::of(&entry.network.subnets)),
            None => Ok(Layout::of(&state.network(network)?.subnets)),
        }
    }

    /// Whether a node is marked as removed.
    ///
    /// # Errors
    /// The store cannot be read, or the record is invalid.
    pub(super) fn is_removed(&self, node: &Name) -> Result<bool, CommandError> {
        let record = objects::node(self.store().as_ref(), node)?;
        Ok(record.is_some_and(|record| record.removed))
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
