//! The model's objects in a store: JSON under `networks/NAME`, `sandboxes/NAME` and `meta/generation`.

use std::fmt::Display;

use serde::{Serialize, de::DeserializeOwned};

use super::{Expected, Revision, Store, StoreError, Versioned, Write};
use crate::model::{Change, Name, Network, Sandbox, State, state::StateError};

/// The highest slot generation that was ever handed out.
const GENERATION: &str = "meta/generation";
const NETWORKS: &str = "networks/";
const SANDBOXES: &str = "sandboxes/";

/// Why objects cannot be loaded or stored.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A value is not what its key says.
    #[error(
        "key '{key}' of the store makes no sense: {reason}; restore the store from a backup, or start the version that wrote it"
    )]
    Value {
        /// Key.
        key: String,
        /// In words.
        reason: String,
    },
    /// The objects do not fit together.
    #[error("the store contradicts itself: {0}; restore it from a backup")]
    Contradiction(#[from] StateError),
    /// The store has another object than the change starts from.
    #[error("'{name}' is not in the store as the change expects it; ask again")]
    Changed {
        /// Name.
        name: Name,
    },
}

/// Everything that a store holds.
///
/// # Errors
/// The store cannot be read, or what it holds makes no sense; the error names the key or the object.
pub fn load_state(store: &dyn Store) -> Result<State, ObjectError> {
    let mut networks: Vec<Network> = Vec::new();
    let mut sandboxes: Vec<Sandbox> = Vec::new();
    let mut generation = 0;
    for entry in store.list("")?.entries {
        if let Some(name) = entry.key.strip_prefix(NETWORKS) {
            let network: Network = parse(&entry)?;
            same_name(&entry, name, &network.name)?;
            networks.push(network);
        } else if let Some(name) = entry.key.strip_prefix(SANDBOXES) {
            let sandbox: Sandbox = parse(&entry)?;
            same_name(&entry, name, &sandbox.name)?;
            sandboxes.push(sandbox);
        } else if entry.key == GENERATION {
            generation = parse(&entry)?;
        } else {
            return Err(senseless(&entry, "nothing is known of such keys"));
        }
    }
    Ok(State::load(networks, sandboxes, generation)?)
}

/// Stores a change together with the slot generation that it leads to ([`State::generation_after`]), in one commit.
/// The stored generation never falls.
///
/// # Errors
/// [`ObjectError::Changed`] if the store does not hold the object that the change starts from, or the store fails;
/// nothing is stored then.
pub fn commit(
    store: &dyn Store,
    change: &Change,
    generation: u32,
) -> Result<Revision, ObjectError> {
    let object = match change {
        Change::Network { before, after } => {
            let name = before.as_deref().or(after.as_deref());
            let name = name.map(|network| &network.name);
            object_write(store, NETWORKS, name, before.as_deref(), after.as_deref())?
        }
        Change::Sandbox { before, after } => {
            let name = before.as_deref().or(after.as_deref());
            let name = name.map(|sandbox| &sandbox.name);
            object_write(store, SANDBOXES, name, before.as_deref(), after.as_deref())?
        }
    };
    let writes: Vec<Write> = object
        .into_iter()
        .chain(generation_write(store, generation)?)
        .collect();
    Ok(store.commit(&writes)?)
}

fn object_write<T: Serialize + DeserializeOwned + PartialEq>(
    store: &dyn Store,
    prefix: &str,
    name: Option<&Name>,
    before: Option<&T>,
    after: Option<&T>,
) -> Result<Option<Write>, ObjectError> {
    let Some(name) = name else { return Ok(None) };
    let key = format!("{prefix}{name}");
    let found = store.get(&key)?;
    let stored: Option<T> = found.as_ref().map(parse).transpose()?;
    if stored.as_ref() != before {
        return Err(ObjectError::Changed { name: name.clone() });
    }
    let value = after.map(|object| json(&key, object)).transpose()?;
    Ok(Some(Write {
        expected: expected(found.as_ref()),
        key,
        value,
    }))
}

fn generation_write(store: &dyn Store, generation: u32) -> Result<Option<Write>, ObjectError> {
    let found = store.get(GENERATION)?;
    let stored: u32 = found.as_ref().map_or(Ok(0), parse)?;
    if generation <= stored {
        return Ok(None);
    }
    Ok(Some(Write {
        key: GENERATION.to_owned(),
        value: Some(json(GENERATION, &generation)?),
        expected: expected(found.as_ref()),
    }))
}

fn expected(found: Option<&Versioned>) -> Expected {
    found.map_or(Expected::Nothing, |entry| {
        Expected::Revision(entry.revision)
    })
}

fn parse<T: DeserializeOwned>(entry: &Versioned) -> Result<T, ObjectError> {
    serde_json::from_slice(&entry.value).map_err(|error| senseless(entry, error))
}

fn json<T: Serialize>(key: &str, object: &T) -> Result<Vec<u8>, ObjectError> {
    serde_json::to_vec(object).map_err(|error| ObjectError::Value {
        key: key.to_owned(),
        reason: error.to_string(),
    })
}

fn same_name(entry: &Versioned, key: &str, name: &Name) -> Result<(), ObjectError> {
    if key == name.as_str() {
        return Ok(());
    }
    Err(senseless(entry, format!("its object is named '{name}'")))
}

fn senseless(entry: &Versioned, reason: impl Display) -> ObjectError {
    ObjectError::Value {
        key: entry.key.clone(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{
        model::request::{Env, NetworkRequest, SandboxRequest, Source},
        store::{FileStore, MemoryStore},
    };

    /// Answers a request, stores the change and applies it, as the daemon does.
    fn make(
        store: &dyn Store,
        state: &mut State,
        ask: impl Fn(&State, &mut Env<'_>) -> Change,
    ) -> Change {
        let mut random = u64::from(state.generation()) << 20;
        let mut env = Env {
            random: &mut || {
                random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
                random
            },
            avoid: &[],
            pools: &["172.20.0.0/16/24".parse().unwrap()],
            listening: &|_, _, _| None,
            free_ports: (40_000, 50_000),
            tunnel_port: 4789,
            host_netns: Path::new("/proc/1/ns/net"),
        };
        let change = ask(state, &mut env);
        commit(store, &change, state.generation_after(&change)).unwrap();
        state.apply(&change).unwrap();
        change
    }

    fn fill(store: &dyn Store, state: &mut State) {
        while state.networks().count() < 3 {
            make(store, state, |state, env| {
                state.missing_built_in(env).unwrap().unwrap()
            });
        }
        make(store, state, |state, env| {
            let request = NetworkRequest::new("web".parse().unwrap());
            state.create_network(&request, env).unwrap()
        });
        make(store, state, |state, env| {
            let source = Source::Created {
                directory: "/run".into(),
            };
            let request = SandboxRequest {
                name: Some("one".parse().unwrap()),
                networks: vec!["web".parse().unwrap(), "bridge".parse().unwrap()],
                ports: vec!["53:53/udp".parse().unwrap()],
                allow: vec!["10.0.0.0/8".parse().unwrap()],
                ..SandboxRequest::new(source)
            };
            state.create_sandbox(&request, env).unwrap()
        });
    }

    fn same(one: &State, other: &State) {
        assert!(one.networks().eq(other.networks()));
        assert!(one.sandboxes().eq(other.sandboxes()));
        assert_eq!(one.generation(), other.generation());
    }

    #[test]
    fn a_state_survives_a_restart_and_generations_survive_their_endpoints() {
        let directory = tempfile::TempDir::new().unwrap();
        let path = directory.path().join("store");
        let mut state = State::default();
        let store = FileStore::open(&path).unwrap();
        fill(&store, &mut state);
        same(&load_state(&store).unwrap(), &state);
        make(&store, &mut state, |state, _| {
            state.remove_sandbox(&"one".parse().unwrap()).unwrap()
        });
        drop(store);

        let loaded = load_state(&FileStore::open(&path).unwrap()).unwrap();
        same(&loaded, &state);
        assert_eq!((loaded.generation(), loaded.sandboxes().count()), (2, 0));
    }

    #[test]
    fn a_change_of_something_else_than_what_is_stored_is_refused() {
        let store = MemoryStore::default();
        let mut state = State::default();
        fill(&store, &mut state);
        let removed = state.remove_sandbox(&"one".parse().unwrap()).unwrap();
        let unpublished = state
            .unpublish(&"one".parse().unwrap(), &["53:53/udp".parse().unwrap()])
            .unwrap();
        commit(&store, &unpublished, 2).unwrap();
        let revision = store.list("").unwrap().revision;
        for change in [removed.clone(), unpublished.clone(), removed.reversed()] {
            let error = commit(&store, &change, 9).unwrap_err();
            assert!(matches!(error, ObjectError::Changed { .. }), "{error}");
        }
        assert_eq!(store.list("").unwrap().revision, revision);
        commit(&store, &unpublished.reversed(), 0).unwrap();
        same(&load_state(&store).unwrap(), &state);
    }

    #[test]
    fn senseless_values_are_named_by_their_key() {
        let mut state = State::default();
        let whole = MemoryStore::default();
        fill(&whole, &mut state);
        let network = whole.get("networks/web").unwrap().unwrap().value;
        let unknown = String::from_utf8(network.clone())
            .unwrap()
            .replacen('{', "{\"new\":1,", 1);
        for (key, value) in [
            ("networks/web", b"{}".to_vec()),
            ("networks/web", b"\xff".to_vec()),
            ("networks/web", unknown.into_bytes()),
            ("networks/other", network),
            ("meta/generation", b"-1".to_vec()),
            ("peers/x", b"1".to_vec()),
        ] {
            let store = MemoryStore::default();
            fill(&store, &mut State::default());
            store.put_if(key, &value, Expected::Anything).unwrap();
            let error = load_state(&store).unwrap_err();
            assert!(error.to_string().contains(key), "{error}");
        }
        whole.delete_if("networks/web", Expected::Anything).unwrap();
        let error = load_state(&whole).unwrap_err();
        assert!(error.to_string().contains("sandbox 'one'"), "{error}");
    }
}
