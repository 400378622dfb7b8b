//! Loading the state.

use std::{collections::BTreeMap, fmt::Display};

use super::{
    GENERATION, LOCAL, ObjectError, invalid,
    nodes::{OWN_ID, OWN_NAME},
    overlays::OWN_BLOCKS,
    parse,
    records::{
        DenialRecord, EndpointDefinition, EndpointSlot, NetworkDefinition, NetworkSlot,
        SandboxRecord,
    },
};
use crate::{
    model::{DenyPrefix, Endpoint, Id, Name, Network, OwnClaims, Sandbox, State, deny::Denials},
    store::{Revision, Store, Versioned},
};

/// The records of a store, by the name or id in their keys.
#[derive(Default)]
struct Found {
    networks: BTreeMap<String, NetworkDefinition>,
    network_slots: BTreeMap<String, NetworkSlot>,
    endpoints: BTreeMap<String, EndpointDefinition>,
    endpoint_slots: BTreeMap<String, EndpointSlot>,
    sandboxes: BTreeMap<String, SandboxRecord>,
    own_claims: BTreeMap<Name, OwnClaims>,
    denials: Denials,
    generation: u32,
}

/// Loads the objects of this node, without what it knows of its cluster. Returns the state and the revision of the store.
///
/// # Errors
/// The store cannot be read, or its contents are invalid; the error names the key or the object.
pub fn load_state(store: &dyn Store) -> Result<(State, Revision), ObjectError> {
    let listing = store.list(LOCAL)?;
    let mut found = Found::default();
    for entry in &listing.entries {
        found.add(entry)?;
    }
    Ok((found.state()?, listing.revision))
}

impl Found {
    fn add(&mut self, entry: &Versioned) -> Result<(), ObjectError> {
        let key = &entry.key;
        if key == GENERATION {
            self.generation = parse(entry)?;
            return Ok(());
        }
        if key == OWN_NAME {
            return parse::<Name>(entry).map(drop);
        }
        if key == OWN_ID {
            return parse::<Id>(entry).map(drop);
        }
        if let Some(name) = key.strip_prefix(OWN_BLOCKS) {
            let name: Name = name.parse().map_err(|error| invalid(key, error))?;
            self.own_claims.insert(name, parse(entry)?);
            return Ok(());
        }
        let mut parts = key.splitn(3, '/');
        match (parts.next(), parts.next(), parts.next()) {
            (Some("local"), Some("networks"), Some(name)) => {
                let definition: NetworkDefinition = parse(entry)?;
                check_name(entry, name, definition.name())?;
                self.networks.insert(name.to_owned(), definition);
            }
            (Some("local"), Some("endpoints"), Some(id)) => {
                let definition: EndpointDefinition = parse(entry)?;
                check_name(entry, id, definition.id())?;
                self.endpoints.insert(id.to_owned(), definition);
            }
            (Some("local"), Some("network-slots"), Some(name)) => {
                self.network_slots.insert(name.to_owned(), parse(entry)?);
            }
            (Some("local"), Some("endpoint-slots"), Some(id)) => {
                self.endpoint_slots.insert(id.to_owned(), parse(entry)?);
            }
            (Some("local"), Some("sandboxes"), Some(name)) => {
                let record: SandboxRecord = parse(entry)?;
                check_name(entry, name, record.name())?;
                self.sandboxes.insert(name.to_owned(), record);
            }
            (Some("local"), Some("denied"), Some(text)) => {
                let prefix: DenyPrefix = text.parse().map_err(|error| invalid(key, error))?;
                let record: DenialRecord = parse(entry)?;
                self.denials.insert(prefix.net(), record.expires);
            }
            _ => return Err(invalid(key, "the key belongs to no kind of object")),
        }
        Ok(())
    }

    fn state(mut self) -> Result<State, ObjectError> {
        let networks = self.networks()?;
        let mut endpoints = self.endpoints()?;
        let mut sandboxes: Vec<Sandbox> = Vec::with_capacity(self.sandboxes.len());
        for (name, record) in self.sandboxes {
            let mut own = Vec::with_capacity(record.endpoints.len());
            for id in &record.endpoints {
                let (sandbox, endpoint) = endpoints.remove(&id.to_string()).ok_or_else(|| {
                    let reason = format!("its endpoint {id} is missing");
                    invalid(&format!("local/sandboxes/{name}"), reason)
                })?;
                if sandbox.as_deref() != Some(&name) {
                    let reason = format!("endpoint {id} belongs to another sandbox");
                    return Err(invalid(&format!("local/sandboxes/{name}"), reason));
                }
                own.push(endpoint);
            }
            sandboxes.push(record.with(own));
        }
        let mut unbound = Vec::with_capacity(endpoints.len());
        for (id, (sandbox, endpoint)) in endpoints {
            if let Some(sandbox) = sandbox {
                let reason = format!("sandbox '{sandbox}' does not have it");
                return Err(invalid(&format!("local/endpoint-slots/{id}"), reason));
            }
            unbound.push(endpoint);
        }
        let state = State::load(networks, sandboxes, self.generation)?;
        let state = state.with_denials(self.denials);
        let state = state.with_endpoints(unbound)?;
        Ok(state.with_own_claims(self.own_claims))
    }

    fn networks(&mut self) -> Result<Vec<Network>, ObjectError> {
        let mut networks = Vec::with_capacity(self.networks.len());
        for (name, definition) in std::mem::take(&mut self.networks) {
            match self.network_slots.remove(&name) {
                Some(slot) => networks.push(definition.with(slot)),
                None => return Err(no_slot(&format!("local/networks/{name}"))),
            }
        }
        match self.network_slots.first_key_value() {
            None => Ok(networks),
            Some((name, _)) => Err(no_definition(&format!("local/network-slots/{name}"))),
        }
    }

    /// Endpoints by id, each with the name of its sandbox.
    fn endpoints(&mut self) -> Result<BTreeMap<String, (Option<String>, Endpoint)>, ObjectError> {
        let mut endpoints = BTreeMap::new();
        for (id, definition) in std::mem::take(&mut self.endpoints) {
            let Some(slot) = self.endpoint_slots.remove(&id) else {
                return Err(no_slot(&format!("local/endpoints/{id}")));
            };
            let sandbox = definition.sandbox.as_ref().map(ToString::to_string);
            endpoints.insert(id, (sandbox, definition.with(slot)));
        }
        match self.endpoint_slots.first_key_value() {
            None => Ok(endpoints),
            Some((id, _)) => Err(no_definition(&format!("local/endpoint-slots/{id}"))),
        }
    }
}

fn no_slot(key: &str) -> ObjectError {
    invalid(key, "its slot is missing")
}

fn no_definition(key: &str) -> ObjectError {
    invalid(key, "its definition is missing")
}

fn check_name(entry: &Versioned, key: &str, name: impl Display) -> Result<(), ObjectError> {
    if key == name.to_string() {
        return Ok(());
    }
    Err(invalid(&entry.key, format!("its object is named '{name}'")))
}
