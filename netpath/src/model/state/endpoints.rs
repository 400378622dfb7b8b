//! Endpoints without a sandbox, and their joining and leaving of sandboxes.

use std::collections::BTreeSet;

use super::{State, StateError, Unknown, lookup::unknown};
use crate::model::{Endpoint, Holder, Id, Name, Sandbox};

impl State {
    /// Adds endpoints without a sandbox to a loaded state ([`State::load`]).
    ///
    /// # Errors
    /// [`StateError`] names the first endpoint that contradicts the other objects.
    pub fn with_endpoints(mut self, endpoints: Vec<Endpoint>) -> Result<Self, StateError> {
        for endpoint in endpoints {
            self.replace_unbound(None, Some(&endpoint))?;
        }
        Ok(self)
    }

    /// Every endpoint, with the name of its sandbox; those with a sandbox come first.
    pub fn endpoints(&self) -> impl Iterator<Item = (&Endpoint, Option<&Name>)> {
        let of_sandboxes = self.sandboxes().flat_map(|sandbox| {
            let endpoints = sandbox.endpoints.iter();
            endpoints.map(|endpoint| (endpoint, Some(&sandbox.name)))
        });
        of_sandboxes.chain(self.unbound.values().map(|endpoint| (endpoint, None)))
    }

    /// Endpoints without a sandbox, by id.
    pub fn unbound_endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        self.unbound.values()
    }

    /// The endpoint with this id, and the name of its sandbox.
    ///
    /// # Errors
    /// [`Unknown`] if it does not exist.
    pub fn endpoint(&self, id: Id) -> Result<(&Endpoint, Option<&Name>), Unknown> {
        let found = self.endpoints().find(|(endpoint, _)| endpoint.id == id);
        found.ok_or_else(|| unknown("endpoint", &id.to_string(), std::iter::empty()))
    }

    /// Interface names of bridges and veth pairs that other programs have created.
    pub fn adopted_devices(&self) -> BTreeSet<String> {
        let bridges = self
            .networks()
            .filter_map(|network| network.adopted.clone());
        let veths = self.endpoints();
        let veths = veths.filter_map(|(endpoint, _)| endpoint.adopted.clone());
        bridges.chain(veths).collect()
    }

    pub(super) fn replace_unbound(
        &mut self,
        before: Option<&Endpoint>,
        after: Option<&Endpoint>,
    ) -> Result<(), StateError> {
        if let Some(before) = before {
            if self.unbound.get(&before.id) != Some(before) {
                return Err(StateError::Contradiction {
                    object: format!("endpoint {}", before.id),
                    reason: "it has changed".to_owned(),
                });
            }
            self.drop_unbound(before);
        }
        let Some(after) = after else { return Ok(()) };
        if let Some(reason) = self.endpoint_fault(after) {
            if let Some(before) = before {
                self.add_unbound(before.clone());
            }
            let object = format!("endpoint {}", after.id);
            return Err(StateError::Contradiction { object, reason });
        }
        self.add_unbound(after.clone());
        Ok(())
    }

    pub(super) fn apply_membership(
        &mut self,
        endpoint: &Endpoint,
        joins: bool,
        before: &Sandbox,
        after: &Sandbox,
    ) -> Result<(), StateError> {
        if joins {
            self.replace_unbound(Some(endpoint), None)?;
            let replaced = self.replace_sandbox(Some(before), Some(after));
            if replaced.is_err() {
                self.add_unbound(endpoint.clone());
            }
            replaced
        } else {
            self.replace_sandbox(Some(before), Some(after))?;
            let added = self.replace_unbound(None, Some(endpoint));
            if added.is_err() {
                self.replace_sandbox(Some(after), Some(before))?;
            }
            added
        }
    }

    fn add_unbound(&mut self, endpoint: Endpoint) {
        self.ids.insert(endpoint.id.device());
        let slot = endpoint.slot.into();
        self.slots.insert(slot, slot);
        self.generation = self.generation.max(endpoint.generation);
        if let Some(network) = self.networks.get_mut(&endpoint.network) {
            network.join(&Holder::Endpoint(endpoint.id), &endpoint);
        }
        self.unbound.insert(endpoint.id, endpoint);
    }

    fn drop_unbound(&mut self, endpoint: &Endpoint) {
        self.ids.remove(&endpoint.id.device());
        let slot = endpoint.slot.into();
        self.slots.remove(slot, slot);
        if let Some(network) = self.networks.get_mut(&endpoint.network) {
            network.leave(&Holder::Endpoint(endpoint.id), endpoint);
        }
        self.unbound.remove(&endpoint.id);
    }
}
