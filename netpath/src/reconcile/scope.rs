//! Which objects to observe.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{Attachment, Desired, ObservedVeth, Veth};

/// Whether [`Scope::All`] includes container links.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// Only the namespace of the node, and the maps.
    Outside,
    /// The container links in every sandbox too.
    Inside,
}

/// Which objects to observe.
#[derive(Clone, Copy, Debug)]
pub enum Scope<'a> {
    /// The objects of one change. Tables without a lookup of single entries are still read completely
    /// ([`MapTable::read`](crate::datapath::tables::MapTable::read)).
    Change {
        /// Objects before the change.
        before: &'a Desired,
        /// Objects after the change.
        after: &'a Desired,
    },
    /// Everything that belongs to netpath.
    All {
        /// The desired state.
        desired: &'a Desired,
        /// Whether to observe container links.
        depth: Depth,
    },
}

impl<'a> Scope<'a> {
    /// Whether everything is observed.
    pub fn is_all(&self) -> bool {
        matches!(self, Self::All { .. })
    }

    /// Keys of a table that are in scope; `None` for all keys.
    pub fn keys<K: Ord + 'a, V: 'a>(
        &self,
        table: fn(&Desired) -> &BTreeMap<K, V>,
    ) -> Option<BTreeSet<&'a K>> {
        match *self {
            Self::Change { before, after } => {
                Some(table(before).keys().chain(table(after).keys()).collect())
            }
            Self::All { .. } => None,
        }
    }

    /// Members of a set that are in scope; `None` for all members.
    pub fn members<K: Ord + 'a>(
        &self,
        set: fn(&Desired) -> &BTreeSet<K>,
    ) -> Option<BTreeSet<&'a K>> {
        match *self {
            Self::Change { before, after } => {
                Some(set(before).iter().chain(set(after).iter()).collect())
            }
            Self::All { .. } => None,
        }
    }

    /// Attachments that are desired; for a change, before or after it.
    pub fn attachments(&self) -> BTreeSet<Attachment> {
        match self {
            Self::Change { before, after } => {
                let after = after.attachments();
                before.attachments().union(&after).cloned().collect()
            }
            Self::All { desired, .. } => desired.attachments(),
        }
    }

    /// The desired veth pair of this name, if its container link is to be observed. The MTU of the container link may have
    /// to follow that of the host interface.
    pub fn inside_of(&self, name: &str, seen: &ObservedVeth) -> Option<&'a Veth> {
        match *self {
            Self::Change { after, .. } => after.veths.get(name),
            Self::All { desired, depth } => {
                let wanted = desired.veths.get(name);
                wanted.filter(|veth| depth == Depth::Inside || veth.mtu != seen.mtu)
            }
        }
    }
}
