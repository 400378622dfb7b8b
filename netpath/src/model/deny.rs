//! The deny list of the node: prefixes of hosts outside. Sandboxes receive no packets from them, and send none to them.

use core::time::Duration;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// Longest time after which an entry expires, in seconds: ten years.
pub const LONGEST_DENIAL: u64 = 10 * 365 * 86_400;

/// A prefix of the deny list: without host bits, and for IPv4 not in v4-mapped form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct DenyPrefix(IpNet);

/// Why a text is no prefix of the deny list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DenyPrefixError {
    /// Neither a prefix nor an address.
    #[error("'{text}' is neither a prefix such as 203.0.113.0/24 nor an address")]
    Syntax {
        /// The text.
        text: String,
    },
    /// Bits after the prefix length are set.
    #[error("'{text}' has host bits; the prefix is {prefix}")]
    HostBits {
        /// The text.
        text: String,
        /// The prefix without host bits.
        prefix: IpNet,
    },
}

impl DenyPrefix {
    /// The prefix.
    pub const fn net(self) -> IpNet {
        self.0
    }
}

impl fmt::Display for DenyPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for DenyPrefix {
    type Err = DenyPrefixError;

    /// From a prefix, or from an address, which is the prefix that contains only this address.
    fn from_str(text: &str) -> Result<Self, DenyPrefixError> {
        let syntax = || DenyPrefixError::Syntax {
            text: text.to_owned(),
        };
        let net = match text.parse::<IpNet>() {
            Ok(net) => net,
            Err(_) => IpNet::from(text.parse::<std::net::IpAddr>().map_err(|_| syntax())?),
        };
        let net = without_mapping(net);
        if net != net.trunc() {
            return Err(DenyPrefixError::HostBits {
                text: text.to_owned(),
                prefix: net.trunc(),
            });
        }
        Ok(Self(net))
    }
}

/// The IPv4 prefix for an IPv6 prefix of v4-mapped addresses (RFC 4291 §2.5.5.2).
fn without_mapping(net: IpNet) -> IpNet {
    const MAPPED: u8 = 96;
    let IpNet::V6(v6) = net else { return net };
    let length = v6.prefix_len().checked_sub(MAPPED);
    match (v6.addr().to_ipv4_mapped(), length) {
        (Some(v4), Some(length)) => Ipv4Net::new(v4, length).map_or(net, IpNet::V4),
        _ => net,
    }
}

impl TryFrom<String> for DenyPrefix {
    type Error = DenyPrefixError;

    fn try_from(text: String) -> Result<Self, DenyPrefixError> {
        text.parse()
    }
}

impl From<DenyPrefix> for String {
    fn from(prefix: DenyPrefix) -> Self {
        prefix.to_string()
    }
}

/// A moment on two clocks. A change of the wall clock does not affect the first; a restart of the machine does not affect the
/// second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// Coarse monotonic nanoseconds, the programs' clock.
    pub monotonic: u64,
    /// First 64 bits of the boot id of the machine when `monotonic` was read.
    pub boot: u64,
    /// Unix time in milliseconds.
    pub unix_ms: u64,
}

impl Moment {
    /// This moment, `time` later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let milliseconds = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            monotonic: self.monotonic.saturating_add(nanoseconds),
            boot: self.boot,
            unix_ms: self.unix_ms.saturating_add(milliseconds),
        }
    }

    /// The same moment on the monotonic clock of `now`: by the wall clock if the machine was restarted.
    #[must_use]
    pub fn on_clock_of(self, now: Self) -> Self {
        if self.boot == now.boot {
            return self;
        }
        let left = Duration::from_millis(self.unix_ms.saturating_sub(now.unix_ms));
        Self {
            monotonic: now.after(left).monotonic,
            boot: now.boot,
            unix_ms: self.unix_ms,
        }
    }

    /// The time until this moment; `None` if it has passed.
    pub fn left(self, now: Self) -> Option<Duration> {
        let left = self
            .on_clock_of(now)
            .monotonic
            .saturating_sub(now.monotonic);
        (left > 0).then(|| Duration::from_nanos(left))
    }
}

/// Entries of the deny list that commands have made: when each expires; `None` for never.
pub type Denials = BTreeMap<IpNet, Option<Moment>>;

/// An entry of the deny list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The prefix.
    pub prefix: IpNet,
    /// When it expires; `None` for never.
    pub expires: Option<Moment>,
    /// Whether it comes from the settings file.
    pub configured: bool,
}

/// The deny list.
#[derive(Clone, Debug, Default)]
pub struct DenyList {
    /// Prefixes of the settings file. They never expire, and have precedence over an entry of a command.
    pub(super) configured: Arc<BTreeSet<IpNet>>,
    /// Entries of commands.
    pub(super) entries: Denials,
}

impl DenyList {
    /// The entries, in the order of their prefixes.
    pub fn iter(&self) -> impl Iterator<Item = Denial> {
        let configured = self.configured.iter().map(|prefix| Denial {
            prefix: *prefix,
            expires: None,
            configured: true,
        });
        let entries = self.entries.iter();
        let entries = entries.filter(|(prefix, _)| !self.configured.contains(*prefix));
        let entries = entries.map(|(prefix, expires)| Denial {
            prefix: *prefix,
            expires: *expires,
            configured: false,
        });
        let mut all: Vec<Denial> = configured.chain(entries).collect();
        all.sort_unstable_by_key(|denial| denial.prefix);
        all.into_iter()
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        let own = self.entries.keys();
        let own = own.filter(|prefix| !self.configured.contains(*prefix));
        self.configured.len() + own.count()
    }

    /// Whether it has no entry.
    pub fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.entries.is_empty()
    }

    /// The time until the next entry expires; `None` if none will.
    pub fn next_expiry(&self, now: Moment) -> Option<Duration> {
        let expires = self.entries.values().flatten();
        expires.filter_map(|moment| moment.left(now)).min()
    }

    /// The longest other prefix in the list that contains `prefix`.
    pub fn covering(&self, prefix: IpNet) -> Option<IpNet> {
        let longer = supernets(prefix).rev();
        let mut longer = longer.filter(|other| self.own(*other).is_some());
        longer.next()
    }

    /// The entries of the map: each prefix with the time until which it or a shorter prefix that contains it is denied. So a
    /// program that finds the longest prefix needs no other, even if the longest one expires first.
    pub fn map_entries(&self) -> BTreeMap<IpNet, u64> {
        let mut covering: Vec<(IpNet, u64)> = Vec::new();
        let entries = self.iter().map(|denial| {
            // A prefix precedes those that it contains.
            while covering
                .last()
                .is_some_and(|(outer, _)| !outer.contains(&denial.prefix))
            {
                covering.pop();
            }
            let outer = covering.last().map_or(0, |(_, until)| *until);
            let until = outer.max(until(denial.expires));
            covering.push((denial.prefix, until));
            (denial.prefix, until)
        });
        entries.collect()
    }

    /// The entries of the map before and after a change of entries that commands have made: those of the changed prefixes, and of
    /// the longer prefixes within them. `self` may be the list before the change or after it.
    pub fn map_entries_of_change(
        &self,
        before: &Denials,
        after: &Denials,
    ) -> (BTreeMap<IpNet, u64>, BTreeMap<IpNet, u64>) {
        let changed: BTreeSet<IpNet> = before.keys().chain(after.keys()).copied().collect();
        let mut affected = changed.clone();
        for outer in &changed {
            let within = self.entries.range(*outer..).map(|(prefix, _)| prefix);
            affected.extend(within.take_while(|prefix| outer.contains(*prefix)));
            let within = self.configured.range(*outer..);
            affected.extend(within.take_while(|prefix| outer.contains(*prefix)));
        }
        let side = |side: &Denials| {
            let own = |prefix: IpNet| match side.get(&prefix) {
                Some(expires) if !self.configured.contains(&prefix) => Some(until(*expires)),
                None if changed.contains(&prefix) && !self.configured.contains(&prefix) => None,
                _ => self.own(prefix),
            };
            let entries = affected.iter();
            let entries =
                entries.filter_map(|prefix| Some((*prefix, with_covering(*prefix, own)?)));
            entries.collect()
        };
        (side(before), side(after))
    }

    /// Until when a prefix is denied by its own entry, on the monotonic clock; `None` if it has none.
    fn own(&self, prefix: IpNet) -> Option<u64> {
        if self.configured.contains(&prefix) {
            return Some(u64::MAX);
        }
        self.entries.get(&prefix).map(|expires| until(*expires))
    }
}

/// Until when a prefix is denied by its own entry or by that of a shorter prefix; `None` if it has no entry of its own.
fn with_covering(prefix: IpNet, own: impl Fn(IpNet) -> Option<u64>) -> Option<u64> {
    let mut until = own(prefix)?;
    for outer in supernets(prefix) {
        if until == u64::MAX {
            break;
        }
        until = until.max(own(outer).unwrap_or_default());
    }
    Some(until)
}

/// The shorter prefixes that contain `prefix`, the shortest one first.
fn supernets(prefix: IpNet) -> impl DoubleEndedIterator<Item = IpNet> {
    let lengths = 0..prefix.prefix_len();
    lengths.filter_map(move |length| Some(IpNet::new(prefix.addr(), length).ok()?.trunc()))
}

/// When an entry expires, on the monotonic clock.
fn until(expires: Option<Moment>) -> u64 {
    expires.map_or(u64::MAX, |moment| moment.monotonic)
}

#[cfg(test)]
mod tests;
