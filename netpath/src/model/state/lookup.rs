//! Finding objects by name, and naming the nearest one when there is none.

use super::{State, entry::NetworkState};
use crate::model::{Endpoint, Name, Network, Sandbox};

/// A name that nothing has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no {kind} '{name}'{}", suggestion(.nearest.as_ref()))]
pub struct Unknown {
    /// What was looked for: `network` or `sandbox`.
    pub kind: &'static str,
    /// The name.
    pub name: String,
    /// The name that is most like it, if one is much like it.
    pub nearest: Option<Name>,
}

impl State {
    /// The network of that name.
    ///
    /// # Errors
    /// [`Unknown`] names the nearest one.
    pub fn network(&self, name: &Name) -> Result<&Network, Unknown> {
        self.network_entry(name).map(|entry| &entry.network)
    }

    pub(in crate::model) fn network_entry(&self, name: &Name) -> Result<&NetworkState, Unknown> {
        let found = self.networks.get(name);
        found.ok_or_else(|| unknown("network", name, self.networks.keys()))
    }

    /// The sandbox of that name.
    ///
    /// # Errors
    /// [`Unknown`] names the nearest one.
    pub fn sandbox(&self, name: &Name) -> Result<&Sandbox, Unknown> {
        let found = self.sandboxes.get(name);
        found.ok_or_else(|| unknown("sandbox", name, self.sandboxes.keys()))
    }

    /// The endpoint that carries the published ports of a sandbox, with its network; `None` while they rest.
    pub fn port_carrier<'a>(&'a self, sandbox: &'a Sandbox) -> Option<(&'a Endpoint, &'a Network)> {
        let endpoint = sandbox.endpoints.first()?;
        let network = &self.networks.get(&endpoint.network)?.network;
        (!network.internal).then_some((endpoint, network))
    }
}

fn unknown<'a>(
    kind: &'static str,
    name: &Name,
    candidates: impl Iterator<Item = &'a Name>,
) -> Unknown {
    let alike =
        |other: &Name| strsim::normalized_damerau_levenshtein(name.as_str(), other.as_str());
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
    fn the_nearest_name_is_offered_and_a_far_one_is_not() {
        let names: Vec<Name> = ["web", "database"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        let say = |name: &str| unknown("network", &name.parse().unwrap(), names.iter()).to_string();
        assert_eq!(say("wbe"), "no network 'wbe'; did you mean 'web'?");
        assert_eq!(
            say("databse"),
            "no network 'databse'; did you mean 'database'?"
        );
        assert_eq!(say("xyzzy"), "no network 'xyzzy'");
    }
}
