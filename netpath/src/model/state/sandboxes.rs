//! Adding and removing sandboxes in every index.

use std::collections::{BTreeMap, BTreeSet};

use super::{State, StateError};
use crate::model::{GatewayMode, Name, NetworkMode, Sandbox};

impl State {
    pub(super) fn replace_sandbox(
        &mut self,
        before: Option<&Sandbox>,
        after: Option<&Sandbox>,
    ) -> Result<(), StateError> {
        if let Some(before) = before {
            if self.sandboxes.get(&before.name) != Some(before) {
                return Err(StateError::stale(&before.name));
            }
            if after.is_none() && self.sharers(&before.name).next().is_some() {
                return Err(StateError::contradiction(
                    format!("sandbox '{}'", before.name),
                    "other sandboxes use its namespace".to_owned(),
                ));
            }
            self.drop_sandbox(before);
        }
        let Some(after) = after else { return Ok(()) };
        let checked = self.check_sandbox(after);
        let kept = if checked.is_ok() { Some(after) } else { before };
        if let Some(kept) = kept {
            self.add_sandbox(kept.clone());
        }
        checked
    }

    /// Adds a sandbox that the caller has checked.
    pub(super) fn add_sandbox(&mut self, sandbox: Sandbox) {
        self.ids.insert(sandbox.id.device());
        for endpoint in &sandbox.endpoints {
            self.ids.insert(endpoint.id.device());
            self.slots
                .insert(endpoint.slot.into(), endpoint.slot.into());
            self.generation = self.generation.max(endpoint.generation);
            if let Some(network) = self.networks.get_mut(&endpoint.network) {
                network.join(&(&sandbox.name).into(), endpoint);
            }
        }
        let reserves = self.reserves_host_ports(&sandbox);
        for mapping in &sandbox.ports {
            if reserves {
                self.ports.insert(mapping, &sandbox.name);
            }
            self.allowed_sources += mapping.allow.len();
            if mapping.allow_list != 0 {
                let list = mapping.allow_list.into();
                self.allow_lists.insert(list, list);
            }
        }
        if let NetworkMode::Container(target) = &sandbox.mode {
            let sharers = self.sharers.entry(target.clone()).or_default();
            sharers.insert(sandbox.name.clone());
        }
        if let Some(namespace) = sandbox.source.adopted() {
            self.adopted.insert(namespace, sandbox.name.clone());
        }
        self.sandboxes.insert(sandbox.name.clone(), sandbox);
    }

    fn drop_sandbox(&mut self, sandbox: &Sandbox) {
        let reserves = self.reserves_host_ports(sandbox);
        for mapping in &sandbox.ports {
            if reserves {
                self.ports.remove(mapping);
            }
            self.allowed_sources -= mapping.allow.len();
            if mapping.allow_list != 0 {
                let list = mapping.allow_list.into();
                self.allow_lists.remove(list, list);
            }
        }
        for endpoint in &sandbox.endpoints {
            self.ids.remove(&endpoint.id.device());
            self.slots
                .remove(endpoint.slot.into(), endpoint.slot.into());
            if let Some(network) = self.networks.get_mut(&endpoint.network) {
                network.leave(&(&sandbox.name).into(), endpoint);
            }
        }
        if let NetworkMode::Container(target) = &sandbox.mode
            && let Some(sharers) = self.sharers.get_mut(target)
        {
            sharers.remove(&sandbox.name);
            if sharers.is_empty() {
                self.sharers.remove(target);
            }
        }
        if let Some(namespace) = sandbox.source.adopted() {
            self.adopted.remove(&namespace);
        }
        self.ids.remove(&sandbox.id.device());
        self.sandboxes.remove(&sandbox.name);
    }

    /// Whether its published ports are ports of the node. In a routed network they are ports of the sandbox.
    pub(in crate::model) fn reserves_host_ports(&self, sandbox: &Sandbox) -> bool {
        let first = sandbox.endpoints.first();
        let network = first.and_then(|endpoint| self.networks.get(&endpoint.network));
        network.is_none_or(|entry| entry.network.gateway_mode == GatewayMode::Nat)
    }
}

/// Sorts every sandbox after the sandbox whose namespace it uses. Sandboxes that form a cycle, or whose target does not
/// exist, come last.
pub(super) fn owners_first(sandboxes: Vec<Sandbox>) -> Vec<Sandbox> {
    let mut waiting: BTreeMap<Name, Vec<Sandbox>> = BTreeMap::new();
    let mut ordered = Vec::with_capacity(sandboxes.len());
    for sandbox in sandboxes {
        match &sandbox.mode {
            NetworkMode::Container(owner) => {
                waiting.entry(owner.clone()).or_default().push(sandbox);
            }
            _ => ordered.push(sandbox),
        }
    }
    let mut seen = BTreeSet::new();
    let mut next = 0;
    while let Some(sandbox) = ordered.get(next) {
        let name = sandbox.name.clone();
        if seen.insert(name.clone()) {
            ordered.extend(waiting.remove(&name).unwrap_or_default());
        }
        next += 1;
    }
    ordered.extend(waiting.into_values().flatten());
    ordered
}
