//! Objects of global scope, and objects of other nodes.

use super::{records::NodeRecord, *};
use crate::model::{Driver, Encap, Id, Overlay, Subnet, Vni};

/// Stores a network of global scope that this node uses.
fn add_global_network(store: &dyn Store, state: &mut State) -> Network {
    let web = state.network(&"web".parse().unwrap()).unwrap().clone();
    let mut network = Network {
        driver: Driver::Overlay,
        overlay: Some(Overlay {
            vni: Vni::try_from(4096).unwrap(),
            encap: Encap::Vxlan,
        }),
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
