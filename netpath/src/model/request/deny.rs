//! Requests about the deny list.

use ipnet::IpNet;
use netpath_common::maps::MAX_DENIED;

use super::RequestError;
use crate::model::{
    Change, State,
    deny::{Denials, DenyPrefix, Moment},
};

/// Most entries of the deny list, one less than the map has: before Linux 6.13, an entry of a full trie cannot be replaced.
pub const DENY_LIMIT: u32 = MAX_DENIED - 1;

impl State {
    /// Adds prefixes to the deny list, all or none, until `expires`; forever if `None`. An entry that has expired is replaced.
    ///
    /// # Errors
    /// If the list contains one of them, or has no room.
    pub fn deny(
        &self,
        prefixes: &[DenyPrefix],
        expires: Option<Moment>,
        now: Moment,
    ) -> Result<Change, RequestError> {
        let (mut before, mut after) = (Denials::new(), Denials::new());
        for prefix in prefixes.iter().map(|prefix| prefix.net()) {
            self.check_not_configured(prefix)?;
            match self.denied.entries.get(&prefix) {
                Some(Some(old)) if old.left(now).is_none() => {
                    before.insert(prefix, Some(*old));
                }
                Some(_) => return Err(RequestError::Denied { prefix }),
                None => {}
            }
            after.insert(prefix, expires);
        }
        if self.denied.len() + after.len() - before.len() > DENY_LIMIT as usize {
            return Err(RequestError::Exhausted {
                what: "entry of the deny list",
                capacity: DENY_LIMIT,
            });
        }
        Ok(Change::Denials { before, after })
    }

    /// Removes prefixes from the deny list, all or none.
    ///
    /// # Errors
    /// If the list does not contain one of them, or the settings file contains it.
    pub fn remove_denials(&self, prefixes: &[DenyPrefix]) -> Result<Change, RequestError> {
        let mut before = Denials::new();
        for prefix in prefixes.iter().map(|prefix| prefix.net()) {
            self.check_not_configured(prefix)?;
            let Some(expires) = self.denied.entries.get(&prefix) else {
                let covering = self.denied.covering(prefix);
                return Err(RequestError::NotDenied { prefix, covering });
            };
            before.insert(prefix, *expires);
        }
        Ok(Change::Denials {
            before,
            after: Denials::new(),
        })
    }

    /// Removes the entries that have expired; `None` if there are none.
    pub fn remove_expired_denials(&self, now: Moment) -> Option<Change> {
        let entries = self.denied.entries.iter();
        let before: Denials = entries
            .filter(|(_, expires)| expires.is_some_and(|moment| moment.left(now).is_none()))
            .map(|(prefix, expires)| (*prefix, *expires))
            .collect();
        let after = Denials::new();
        (!before.is_empty()).then_some(Change::Denials { before, after })
    }

    /// Sets the expiry of entries from before a restart of the machine on the present monotonic clock; `None` if there are none.
    pub fn renew_denials(&self, now: Moment) -> Option<Change> {
        let (mut before, mut after) = (Denials::new(), Denials::new());
        for (prefix, expires) in &self.denied.entries {
            let renewed = expires.map(|moment| moment.on_clock_of(now));
            if renewed != *expires {
                before.insert(*prefix, *expires);
                after.insert(*prefix, renewed);
            }
        }
        (!before.is_empty()).then_some(Change::Denials { before, after })
    }

    fn check_not_configured(&self, prefix: IpNet) -> Result<(), RequestError> {
        if self.denied.configured.contains(&prefix) {
            return Err(RequestError::DeniedBySettings { prefix });
        }
        Ok(())
    }
}
