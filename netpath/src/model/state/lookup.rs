//! Lookup of objects by name, with a suggestion for unknown names.

use super::{State, entry::NetworkState};
use crate::model::{Endpoint, Name, Network, Sandbox};

/// No object has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {kind} '{name}'{}", suggestion(.nearest.as_ref()))]
pub struct Unknown {
    /// Kind of the object: `network`, `sandbox` or `endpoint`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The most similar name; `None` if no name is similar.
    pub nearest: Option<Name>,
}

impl State {
    /// The network with this name.
    ///
    /// # Errors
    /// [`Unknown`] if it does not exist; it suggests the most similar name.
    pub fn network(&self, name: &Name) -> Result<&Network, Unknown> {
        self.network_entry(name).map(|entry| &entry.network)
    }

    pub(in crate::model) fn network_entry(&self, name: &Name) -> Result<&NetworkState, Unknown> {
        let found = self.networks.get(name);
        found.ok_or_else(|| unknown("network", name.as_str(), self.networks.keys()))
    }

    /// The sandbox with this name.
    ///
    /// # Errors
    /// [`Unknown`] if it does not exist; it suggests the most similar name.
    pub fn sandbox(&self, name: &Name) -> Result<&Sandbox, Unknown> {
        let found = self.sandboxes.get(name);
        found.ok_or_else(|| unknown("sandbox", name.as_str(), self.sandboxes.keys()))
    }

    /// The endpoint that carries the published ports of a sandbox, with its network; `None` while the ports are not
    /// published because no network has external access.
    pub fn port_carrier<'a>(&'a self, sandbox: &'a Sandbox) -> Option<(&'a Endpoint, &'a Network)> {
        let endpoint = sandbox.endpoints.first()?;
        let network = &self.networks.get(&endpoint.network)?.network;
        (!network.internal).then_some((endpoint, network))
    }
}

/// The error for an unknown name. It suggests the most similar one of `candidates`.
pub fn unknown<'a>(
    kind: &'static str,
    name: &str,
    candidates: impl Iterator<Item = &'a Name>,
) -> Unknown {
    let alike = |other: &Name| strsim::normalized_damerau_levenshtein(name, other.as_str());
    let nearest = candidates
        .map(|other| (alike(other), other))
        .filter(|(likeness, _)| *likeness >= 0.4)
        .max_by(|(one, _), (other, _)| one.total_cmp(other));
    Unknown {
        kind,
        name: name.to_string(),
        nearest: nearest.map(|(_, other)| other.clone()),
    }
}

fn suggestion(nearest: Option<&Name>) -> String {
    match nearest {
        Some(name) => format!("; did you mean '{name}'?"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn similar_name_is_suggested_and_others_are_not() {
        let names: Vec<Name> = ["web", "database"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        let message = |name: &str| unknown("network", name, names.iter()).to_string();
        assert_eq!(message("wbe"), "no network 'wbe'; did you mean 'web'?");
        assert_eq!(
            message("databse"),
            "no network 'databse'; did you mean 'database'?"
        );
        assert_eq!(message("xyzzy"), "no network 'xyzzy'");
    }
}
