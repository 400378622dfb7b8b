//! Flows: lookup, creation, removal and accounting. `netpath_common::flow` describes layout and rules.
//!
//! | file | does |
//! |---|---|
//! | `entry` | access to entries of the map `flows` |
//! | `lookup` | which flow a packet belongs to |
//! | `create` | both entries of a new flow |
//! | `lifetime` | state, expiry, removal |
//! | `accounting` | flows of each sandbox, and their limit |
//! | `admission` | room for a new flow |
//! | `half_open` | the rings of half-open flows, and eviction from them |
//! | `index` | the index of all flows |

mod accounting;
mod admission;
mod create;
mod entry;
mod half_open;
mod index;
mod lifetime;
mod lookup;

pub use self::{
    admission::{admits, reclaim_table},
    create::{Refused, create},
    entry::Entry,
    half_open::track,
    lifetime::{is_finished, remove_flow, remove_if_idle, yield_tuple},
    lookup::{Found, find, find_replying, find_sent, record_packet},
};
#[cfg(target_arch = "bpf")]
pub use lookup::is_delivered_from_outside;
