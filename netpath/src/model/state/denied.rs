//! The deny list of the node.

use std::{collections::BTreeSet, sync::Arc};

use ipnet::IpNet;

use super::{State, StateError};
use crate::model::{DenyList, deny::Denials};

impl State {
    /// The deny list.
    pub fn deny_list(&self) -> &DenyList {
        &self.denied
    }

    /// The state with these prefixes of the settings file in the deny list.
    #[must_use]
    pub fn with_configured_denials(mut self, prefixes: Arc<BTreeSet<IpNet>>) -> Self {
        self.denied.configured = prefixes;
        self
    }

    /// The state with these entries of commands in the deny list.
    #[must_use]
    pub fn with_denials(mut self, entries: Denials) -> Self {
        self.denied.entries = entries;
        self
    }

    pub(super) fn replace_denials(
        &mut self,
        before: &Denials,
        after: &Denials,
    ) -> Result<(), StateError> {
        let entries = &mut self.denied.entries;
        let changed = before.keys().chain(after.keys());
        let mut changed = changed.filter(|prefix| entries.get(*prefix) != before.get(*prefix));
        if let Some(prefix) = changed.next() {
            return Err(StateError::contradiction(
                format!("prefix {prefix} of the deny list"),
                "it has changed".to_owned(),
            ));
        }
        entries.retain(|prefix, _| !before.contains_key(prefix));
        entries.extend(after);
        Ok(())
    }
}
