//! Objects of global scope, and objects of other nodes.

use std::net::IpAddr;

use super::{records::NodeRecord, *};
use crate::model::{
    Driver, Id, Subnet,
    request::{ErrorKind, RequestError},
};

/// Stores a network of global scope that this node uses.
fn add_global_network(store: &dyn Store, state: &mut State) -> Network {
    let web = state.network(&"web".parse().unwrap()).unwrap().clone();
    let mut network = Network {
        driver: Driver::Overlay,
        name: "global".parse().unwrap(),
        id: Id::from_random(0xabcd_0000),
        index: 100,
        ..web
    };
    network.subnets[0] = Subnet {
        prefix: "10.99.0.0/24".parse().unwrap(),
        gateway: "10.99.0.1".parse().unwrap(),
        range: None,
    };
    make(store, state, |_, _| Change::Network {
        before: None,
        after: Some(Box::new(network.clone())),
    });
    network
}

/// A store with the objects of [`fill`] and network `global`, and their state.
fn global() -> (MemoryStore, State, Network) {
    let store = MemoryStore::default();
    let mut state = State::default();
    fill(&store, &mut state);
    let network = add_global_network(&store, &mut state);
    (store, state, network)
}

/// The id of the endpoint that [`add_remote_endpoint`] stores.
fn remote_id() -> Id {
    Id::from_random(0x0eee_0000)
}

/// Stores an endpoint in network `global` as the daemon of another node does, but without the local records of that
/// node.
fn add_remote_endpoint(store: &dyn Store, address: &str) {
    let id = remote_id();
    let endpoint = Endpoint {
        id,
        network: "global".parse().unwrap(),
        interface: "eth0".to_owned(),
        mac: id.mac(),
        addresses: vec![address.parse().unwrap()],
        owner: Owner::Netpath,
        rate: None,
        adopted: None,
        slot: 1,
        generation: 1,
    };
    let definition = EndpointDefinition::of(&endpoint, Some(&"far".parse().unwrap()));
    let value = serde_json::to_vec(&definition).unwrap();
    let key = format!("shared/endpoints/{id}");
    store.put_if(&key, &value, Expected::Nothing).unwrap();
}

fn request(ip: Option<&str>) -> EndpointRequest {
    EndpointRequest {
        network: "global".parse().unwrap(),
        ips: ip.into_iter().map(|ip| ip.parse().unwrap()).collect(),
        mac: None,
        interface: None,
        adopt: None,
        owner: Owner::Netpath,
    }
}

/// Stores a new endpoint in network `global`; returns its address.
fn allocated(store: &dyn Store, state: &mut State) -> IpAddr {
    let change = make(store, state, |state, env| {
        state.create_endpoint(&request(None), env).unwrap()
    });
    change.new_endpoint().unwrap().addresses[0].addr()
}

fn refused(state: &State, request: &EndpointRequest) -> RequestError {
    evaluate(state, |state, env| {
        state.create_endpoint(request, env).unwrap_err()
    })
}

#[test]
fn shared_objects_contain_no_local_property() {
    let store = MemoryStore::default();
    let mut state = State::default();
    fill(&store, &mut state);
    let overlay = add_global_network(&store, &mut state);
    assert_same(&loaded(&store), &state);
    let entries = store.list("").unwrap().entries;
    let shared: Vec<_> = entries
        .iter()
        .filter(|entry| !entry.key.starts_with(LOCAL))
        .collect();
    let keys: Vec<_> = shared.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["shared/networks/global"]);
    let text = String::from_utf8(shared[0].value.clone()).unwrap();
    assert!(!text.contains("index"), "{text}");

    // A node without a slot for it does not use the network.
    store
        .delete_if("local/network-slots/global", Expected::Anything)
        .unwrap();
    assert!(loaded(&store).network(&overlay.name).is_err());
}

#[test]
fn address_of_a_remote_endpoint_is_not_allocated() {
    let (store, _, _) = global();
    add_remote_endpoint(&store, "10.99.0.2/24");
    let mut state = loaded(&store);
    let allocated = [(); 2].map(|()| allocated(&store, &mut state).to_string());
    assert_eq!(allocated, ["10.99.0.3", "10.99.0.4"]);
    assert_same(&loaded(&store), &state);
}

#[test]
fn request_for_an_address_of_a_remote_endpoint_is_refused() {
    let (store, _, _) = global();
    add_remote_endpoint(&store, "10.99.0.9/24");
    let state = loaded(&store);
    let id = remote_id();
    let error = refused(&state, &request(Some("10.99.0.9")));
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert_eq!(
        error.to_string(),
        format!(
            "the endpoint cannot join network 'global': address 10.99.0.9 of subnet 10.99.0.0/24 is taken by endpoint \
             {id} of another node"
        )
    );
    let request = EndpointRequest {
        mac: Some(id.mac()),
        ..request(None)
    };
    let error = refused(&state, &request).to_string();
    let expected = format!("endpoint {id} of another node has it");
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn network_of_a_remote_endpoint_cannot_be_removed() {
    let (store, _, network) = global();
    add_remote_endpoint(&store, "10.99.0.9/24");
    let error = loaded(&store).remove_network(&network.name).unwrap_err();
    let id = remote_id();
    assert_eq!(
        error.to_string(),
        format!("network 'global' is in use by endpoint {id} of another node")
    );
    assert_eq!(error.hint(), "remove it first on that node");
}

#[test]
fn address_of_two_nodes_is_a_conflict_and_stays_reserved() {
    let (store, mut state, _) = global();
    let ip = allocated(&store, &mut state);
    add_remote_endpoint(&store, &format!("{ip}/24"));
    let mut state = loaded(&store);
    let own = endpoint(&state).id;
    let id = remote_id();
    let conflicts: Vec<_> = state.address_conflicts().map(|it| it.to_string()).collect();
    let expected = format!(
        "endpoint {own} and endpoint {id} of another node have address {ip} of network 'global'"
    );
    assert_eq!(conflicts, [expected]);

    make(&store, &mut state, |state, _| {
        state.remove_endpoint(own, Caller::DAEMON).unwrap()
    });
    assert_eq!(state.address_conflicts().count(), 0);
    let error = refused(&state, &request(Some(&ip.to_string())));
    assert_eq!(error.kind(), ErrorKind::Conflict);
}

fn node(name: &str, addresses: &[&str]) -> NodeRecord {
    NodeRecord {
        name: name.parse().unwrap(),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        version: "1.0".to_owned(),
    }
}

#[test]
fn node_record_is_written_only_if_it_changes() {
    let store = MemoryStore::default();
    assert_eq!(nodes(&store).unwrap(), []);
    let first = node("a", &["192.0.2.7"]);
    assert_eq!(store_node(&store, &first).unwrap(), Some(1));
    assert_eq!(store_node(&store, &first).unwrap(), None);
    let moved = node("a", &["192.0.2.8", "2001:db8::8"]);
    assert_eq!(store_node(&store, &moved).unwrap(), Some(2));
    assert_eq!(nodes(&store).unwrap(), [moved]);
    assert_eq!(load_state(&store).unwrap().1, 2);
}

#[test]
fn renamed_node_removes_its_earlier_record_only() {
    let store = MemoryStore::default();
    store_node(&store, &node("a", &[])).unwrap();
    let other = node("b", &["192.0.2.9"]);
    let value = serde_json::to_vec(&other).unwrap();
    store
        .put_if("shared/nodes/b", &value, Expected::Nothing)
        .unwrap();
    let renamed = node("c", &[]);
    store_node(&store, &renamed).unwrap();
    assert_eq!(nodes(&store).unwrap(), [other, renamed]);
}
