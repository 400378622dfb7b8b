//! Overlay networks and claims of addresses: objects that several nodes change, each by a transaction on small objects.

use serde::{Serialize, de::DeserializeOwned};

use super::{ObjectError, expected, invalid, parse, records::NetworkDefinition};
use crate::{
    model::{
        Name, Network, OverlayRanges, OwnClaims, Peer,
        claims::Claims,
        state::{Cluster, ClusterNetwork},
    },
    store::{Expected, Revision, Store, StoreError, Write},
};

/// Prefix of the keys of overlay networks.
pub const NETWORKS: &str = "shared/networks/";

/// Prefix of the keys of the claims of all nodes.
pub const BLOCKS: &str = "shared/blocks/";

/// Prefix of the keys of the claims of this node.
pub(super) const OWN_BLOCKS: &str = "local/blocks/";

/// Key of the ranges of all overlay networks.
const RANGES: &str = "shared/ranges";

/// Attempts of a transaction while other nodes change the same objects.
const ATTEMPTS: usize = 64;

/// Loads what this node knows of its cluster. A network without claims is being created or removed; it is left out.
///
/// # Errors
/// The store cannot be read, or its contents are invalid; the error names the key.
pub fn load_cluster(store: &dyn Store, node: &Name) -> Result<Cluster, ObjectError> {
    let mut networks = Vec::new();
    for entry in store.list(NETWORKS)?.entries {
        let definition: NetworkDefinition = parse(&entry)?;
        let name = definition.name().clone();
        if entry.key != format!("{NETWORKS}{name}") {
            return Err(invalid(&entry.key, format!("its object is named '{name}'")));
        }
        let (claims, _) = read::<Claims>(store, &format!("{BLOCKS}{name}"))?;
        let network = definition.unused();
        let claims = claims.filter(|claims| claims.network == network.id);
        networks.extend(claims.map(|claims| ClusterNetwork { network, claims }));
    }
    let nodes = super::nodes(store)?.into_iter();
    let peers = nodes.filter(|other| !other.removed && other.name != *node);
    let peers = peers.map(|other| Peer {
        name: other.name,
        addresses: other.addresses,
    });
    Ok(Cluster::new(node, networks, peers.collect()))
}

/// Creates an overlay network that `choose` returns for the ranges of the other networks. It is called again if another
/// node has changed the ranges at the same time.
///
/// # Errors
/// `choose` fails, or the store.
pub fn create_network<E: From<ObjectError>>(
    store: &dyn Store,
    mut choose: impl FnMut(&OverlayRanges) -> Result<Network, E>,
) -> Result<Network, E> {
    repeat(RANGES, || {
        let (ranges, at) = read::<OverlayRanges>(store, RANGES)?;
        let mut ranges = ranges.unwrap_or_default();
        let network = choose(&ranges)?;
        ranges.insert(&network);
        let name = &network.name;
        let claims = Claims::of(network.id);
        let writes = [
            put(RANGES.to_owned(), &ranges, at)?,
            put(
                format!("{NETWORKS}{name}"),
                &NetworkDefinition::of(&network),
                Expected::Nothing,
            )?,
            put(format!("{BLOCKS}{name}"), &claims, Expected::Nothing)?,
        ];
        Ok(commit(store, &writes)?.then_some(network))
    })
}

/// Removes an overlay network without claims. Returns the nodes with claims; the network is removed if there are none.
///
/// # Errors
/// The store cannot be read or written.
pub fn remove_network(store: &dyn Store, name: &Name) -> Result<Vec<Name>, ObjectError> {
    repeat(RANGES, || {
        let key = format!("{BLOCKS}{name}");
        let (claims, at) = read::<Claims>(store, &key)?;
        let nodes = claims.iter().flat_map(Claims::nodes);
        let nodes: Vec<Name> = nodes.cloned().collect();
        if !nodes.is_empty() {
            return Ok(Some(nodes));
        }
        let (ranges, ranges_at) = read::<OverlayRanges>(store, RANGES)?;
        let mut ranges = ranges.unwrap_or_default();
        ranges.networks.remove(name);
        let writes = [
            delete(key, at),
            delete(format!("{NETWORKS}{name}"), Expected::Anything),
            put(RANGES.to_owned(), &ranges, ranges_at)?,
        ];
        Ok(commit(store, &writes)?.then_some(nodes))
    })
}

/// Changes the claims in an overlay network. `change` is called again if another node has changed them at the same time.
/// Returns the claims after the change; `None` if the network does not exist.
///
/// # Errors
/// `change` fails, or the store.
pub fn change_claims<E: From<ObjectError>>(
    store: &dyn Store,
    network: &Name,
    mut change: impl FnMut(&mut Claims) -> Result<(), E>,
) -> Result<Option<Claims>, E> {
    let key = format!("{BLOCKS}{network}");
    repeat(&key, || {
        let (found, at) = read::<Claims>(store, &key)?;
        let Some(before) = found else {
            return Ok(Some(None));
        };
        let mut claims = before.clone();
        change(&mut claims)?;
        let unchanged = claims == before;
        let write = put(key.clone(), &claims, at)?;
        let done = unchanged || commit(store, &[write])?;
        Ok(done.then_some(Some(claims)))
    })
}

/// Creates the objects of an overlay network that the store has lost, with the claims of this node. Returns whether it is
/// in the store afterwards: another network may have its VNI or a subnet.
///
/// # Errors
/// The store cannot be read or written.
pub fn restore_network(
    store: &dyn Store,
    network: &Network,
    claims: &Claims,
) -> Result<bool, ObjectError> {
    repeat(RANGES, || {
        let name = &network.name;
        let (ranges, at) = read::<OverlayRanges>(store, RANGES)?;
        let mut ranges = ranges.unwrap_or_default();
        let own = ranges.networks.remove(name);
        let vni = network.overlay.map(|overlay| overlay.vni);
        let mut subnets = network.subnets.iter();
        let taken = own.is_some_and(|range| range.id != network.id)
            || vni.is_some_and(|vni| ranges.with_vni(vni).is_some())
            || subnets.any(|subnet| ranges.overlapping(&subnet.prefix).is_some());
        if taken {
            return Ok(Some(false));
        }
        ranges.insert(network);
        let definition = NetworkDefinition::of(network);
        let (_, definition_at) = read::<NetworkDefinition>(store, &format!("{NETWORKS}{name}"))?;
        let (found, claims_at) = read::<Claims>(store, &format!("{BLOCKS}{name}"))?;
        let mut writes = vec![
            put(RANGES.to_owned(), &ranges, at)?,
            put(format!("{NETWORKS}{name}"), &definition, definition_at)?,
        ];
        if found.is_none_or(|found| found.network != network.id) {
            writes.push(put(format!("{BLOCKS}{name}"), claims, claims_at)?);
        }
        Ok(commit(store, &writes)?.then_some(true))
    })
}

/// Records the claims of this node in one network, or that it has none. Returns the revision of the commit.
///
/// # Errors
/// The store cannot be read or written.
pub fn store_own_claims(
    store: &dyn Store,
    network: &Name,
    claims: Option<&OwnClaims>,
) -> Result<Revision, ObjectError> {
    let key = format!("{OWN_BLOCKS}{network}");
    let write = match claims {
        Some(claims) => put(key, claims, Expected::Anything)?,
        None => delete(key, Expected::Anything),
    };
    Ok(store.commit(&[write])?)
}

/// Repeats a transaction that returns `None` because another node has changed the same objects at the same time.
fn repeat<T, E: From<ObjectError>>(
    key: &str,
    mut transaction: impl FnMut() -> Result<Option<T>, E>,
) -> Result<T, E> {
    for _ in 0..ATTEMPTS {
        if let Some(done) = transaction()? {
            return Ok(done);
        }
    }
    let key = key.to_owned();
    Err(ObjectError::Changed { key }.into())
}

/// Executes the writes. Returns whether they are executed; not if another node has changed one of the keys.
fn commit(store: &dyn Store, writes: &[Write]) -> Result<bool, ObjectError> {
    match store.commit(writes) {
        Ok(_) => Ok(true),
        Err(StoreError::Conflict { .. }) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The value of a key, and what a write of the key expects.
fn read<T: DeserializeOwned>(
    store: &dyn Store,
    key: &str,
) -> Result<(Option<T>, Expected), ObjectError> {
    let found = store.get(key)?;
    let value = found.as_ref().map(parse).transpose()?;
    Ok((value, expected(found.as_ref())))
}

/// A write of a value.
pub(super) fn put(
    key: String,
    value: &impl Serialize,
    expected: Expected,
) -> Result<Write, ObjectError> {
    let value = serde_json::to_vec(value).map_err(|error| invalid(&key, error))?;
    Ok(Write {
        key,
        value: Some(value),
        expected,
    })
}

/// The removal of a key.
pub(super) fn delete(key: String, expected: Expected) -> Write {
    Write {
        key,
        value: None,
        expected,
    }
}
