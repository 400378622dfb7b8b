mod shared;
mod transactions;

use std::{fs, path::Path};

use super::*;
use crate::{
    model::{
        Caller, Owner,
        request::{BuiltIn, EndpointRequest, Env, NetworkRequest, SandboxRequest, Source},
    },
    store::{FileStore, MemoryStore},
};

/// Evaluates a request.
fn evaluate<T>(state: &State, request: impl FnOnce(&State, &mut Env<'_>) -> T) -> T {
    let mut random = u64::from(state.generation()) << 20;
    let mut env = Env {
        random: &mut || {
            random = random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            random
        },
        connected: &[],
        routed: &[],
        pools: &["172.20.0.0/16/24".parse().unwrap()],
        listening: &|_, _, _, _| None,
        free_ports: (40_000, 50_000),
        tunnel_port: 4789,
        host_netns: Path::new("/proc/1/ns/net"),
        interfaces: &[],
    };
    request(state, &mut env)
}

/// Evaluates a request, stores its change and applies it to the state, as the daemon does.
fn make(
    store: &dyn Store,
    state: &mut State,
    request: impl FnOnce(&State, &mut Env<'_>) -> Change,
) -> Change {
    let change = evaluate(state, request);
    commit(store, state, &change).unwrap();
    state.apply(&change).unwrap();
    change
}

fn fill(store: &dyn Store, state: &mut State) {
    while state.networks().count() < 3 {
        make(store, state, |state, env| {
            state.missing_built_in(BuiltIn::All, env).unwrap().unwrap()
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

fn assert_same(one: &State, other: &State) {
    assert!(one.networks().eq(other.networks()));
    assert!(one.sandboxes().eq(other.sandboxes()));
    assert!(one.unbound_endpoints().eq(other.unbound_endpoints()));
    assert_eq!(one.generation(), other.generation());
}

fn loaded(store: &dyn Store) -> State {
    load_state(store).unwrap().0
}

fn endpoint(state: &State) -> Endpoint {
    state.unbound_endpoints().next().unwrap().clone()
}

#[test]
fn state_and_generations_survive_a_restart() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("store");
    let mut state = State::default();
    let store = FileStore::open(&path).unwrap();
    fill(&store, &mut state);
    assert_same(&loaded(&store), &state);
    make(&store, &mut state, |state, _| {
        state.remove_sandbox(&"one".parse().unwrap()).unwrap()
    });
    drop(store);

    let reopened = loaded(&FileStore::open(&path).unwrap());
    assert_same(&reopened, &state);
    assert_eq!(
        (reopened.generation(), reopened.sandboxes().count()),
        (2, 0)
    );
}

#[test]
fn endpoint_survives_a_restart_without_and_with_its_sandbox() {
    let store = MemoryStore::default();
    let mut state = State::default();
    fill(&store, &mut state);
    make(&store, &mut state, |state, env| {
        let request = EndpointRequest {
            network: "web".parse().unwrap(),
            ips: Vec::new(),
            mac: None,
            interface: None,
            adopt: None,
            owner: Owner::Cni,
        };
        state.create_endpoint(&request, env).unwrap()
    });
    assert_same(&loaded(&store), &state);
    let id = endpoint(&state).id;
    make(&store, &mut state, |state, env| {
        let request = SandboxRequest {
            name: Some("two".parse().unwrap()),
            unconnected: true,
            ..SandboxRequest::new(Source::Created {
                directory: "/run".into(),
            })
        };
        state.create_sandbox(&request, env).unwrap()
    });
    let caller = Caller::DAEMON;
    make(&store, &mut state, |state, _| {
        state
            .join_endpoint(id, &"two".parse().unwrap(), &[], caller)
            .unwrap()
    });
    assert_same(&loaded(&store), &state);
    assert_eq!(state.unbound_endpoints().count(), 0);
    make(&store, &mut state, |state, _| {
        state.leave_endpoint(id, caller).unwrap()
    });
    assert_same(&loaded(&store), &state);
    assert_eq!(endpoint(&state).owner, Owner::Cni);
}

#[test]
fn change_that_does_not_start_from_the_stored_objects_is_refused() {
    let store = MemoryStore::default();
    let mut state = State::default();
    fill(&store, &mut state);
    let removed = state.remove_sandbox(&"one".parse().unwrap()).unwrap();
    let unpublished = state
        .unpublish(&"one".parse().unwrap(), &["53:53/udp".parse().unwrap()])
        .unwrap();
    commit(&store, &state, &unpublished).unwrap();
    let revision = store.list("").unwrap().revision;
    for change in [removed.clone(), unpublished.clone(), removed.reversed()] {
        let error = commit(&store, &state, &change).unwrap_err();
        assert!(matches!(error, ObjectError::Changed { .. }), "{error}");
    }
    assert_eq!(store.list("").unwrap().revision, revision);
    commit(&store, &state, &unpublished.reversed()).unwrap();
    assert_same(&loaded(&store), &state);
}

#[test]
fn change_of_a_sandbox_writes_only_its_changed_records() {
    let store = MemoryStore::default();
    let mut state = State::default();
    fill(&store, &mut state);
    let before = store.list("").unwrap();
    make(&store, &mut state, |state, _| {
        let specs = ["53:53/udp".parse().unwrap()];
        state.unpublish(&"one".parse().unwrap(), &specs).unwrap()
    });
    let after = store.list("").unwrap();
    let changed = after
        .entries
        .iter()
        .filter(|entry| !before.entries.contains(entry));
    let changed: Vec<_> = changed.map(|entry| entry.key.as_str()).collect();
    assert_eq!(changed, ["local/sandboxes/one"]);
}

#[test]
fn invalid_values_are_reported_with_their_key() {
    let mut state = State::default();
    let whole = MemoryStore::default();
    fill(&whole, &mut state);
    let network = whole.get("local/networks/web").unwrap().unwrap().value;
    let unknown = String::from_utf8(network.clone())
        .unwrap()
        .replacen('{', "{\"new\":1,", 1);
    for (key, value) in [
        ("local/networks/web", b"{}".to_vec()),
        ("local/networks/web", b"\xff".to_vec()),
        ("local/networks/web", unknown.into_bytes()),
        ("local/networks/other", network),
        (
            "local/network-slots/other",
            b"{\"index\":9,\"adopted\":null}".to_vec(),
        ),
        ("local/generation", b"-1".to_vec()),
        ("local/node", b"{}".to_vec()),
        ("local/blocks/web", b"{}".to_vec()),
        ("local/peers/x", b"1".to_vec()),
    ] {
        let store = MemoryStore::default();
        fill(&store, &mut State::default());
        store.put_if(key, &value, Expected::Anything).unwrap();
        let error = load_state(&store).map(drop).unwrap_err();
        assert!(error.to_string().contains(key), "{error}");
    }
    for key in ["local/networks/web", "local/network-slots/web"] {
        whole.delete_if(key, Expected::Anything).unwrap();
    }
    let error = load_state(&whole).map(drop).unwrap_err();
    assert!(error.to_string().contains("sandbox 'one'"), "{error}");
}

#[test]
fn file_of_schema_1_is_migrated() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("store");
    fs::write(&path, include_bytes!("../file/fixtures/schema-1.redb")).unwrap();
    for _ in 0..2 {
        let state = loaded(&FileStore::open(&path).unwrap());
        let networks: Vec<_> = state
            .networks()
            .map(|network| network.name.to_string())
            .collect();
        assert_eq!(
            networks,
            ["bridge", "direct", "host", "none", "quiet", "web"]
        );
        let web = state.network(&"web".parse().unwrap()).unwrap();
        assert_eq!(
            (web.mtu, web.subnets.len(), web.labels.len()),
            (Some(1400), 2, 1)
        );
        assert_eq!((web.owner, &web.adopted), (Owner::Netpath, &None));
        let sandboxes: Vec<_> = state
            .sandboxes()
            .map(|sandbox| sandbox.name.to_string())
            .collect();
        assert_eq!(sandboxes, ["five", "four", "one", "six", "three", "two"]);
        let one = state.sandbox(&"one".parse().unwrap()).unwrap();
        let endpoints: Vec<_> = one
            .endpoints
            .iter()
            .map(|endpoint| endpoint.network.as_str())
            .collect();
        assert_eq!((endpoints, one.ports.len()), (vec!["web", "bridge"], 3));
        assert_eq!(one.ports[2].allow, ["198.51.100.0/24".parse().unwrap()]);
        let two = state.sandbox(&"two".parse().unwrap()).unwrap();
        assert_eq!(state.generation(), two.endpoints[0].generation);
    }
}
