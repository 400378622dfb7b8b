//! Objects of global scope, and objects of other nodes.

use super::{records::NodeRecord, *};
use crate::model::{Driver, Encap, Id, Overlay, OwnClaims, Subnet, Vni};

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
fn overlay_network_of_this_node_is_loaded_without_the_shared_store() {
    let store = MemoryStore::default();
    let mut state = State::default();
    fill(&store, &mut state);
    let overlay = add_global_network(&store, &mut state);
    let own = OwnClaims {
        network: overlay.id,
        blocks: [(1, 7)].into(),
        disputed: [].into(),
        kept: BTreeMap::new(),
        except: [].into(),
    };
    overlays::store_own_claims(&store, &overlay.name, Some(&own)).unwrap();
    let entries = store.list("").unwrap().entries;
    assert!(entries.iter().all(|entry| entry.key.starts_with(LOCAL)));
    let loaded = loaded(&store);
    assert_same(&loaded, &state);
    assert_eq!(loaded.own_claims()[&overlay.name], own);
    assert_eq!(loaded.network(&overlay.name).unwrap(), &overlay);
    assert!(!loaded.lacks_addresses(&overlay.name));
}

fn node(name: &str, addresses: &[&str]) -> NodeRecord {
    NodeRecord {
        name: name.parse().unwrap(),
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        version: "1.0".to_owned(),
        id: Some(Id::from_random(1)),
        removed: false,
    }
}

#[test]
fn node_record_is_written_only_if_it_changes() {
    let store = MemoryStore::default();
    assert_eq!(nodes(&store).unwrap(), []);
    let first = node("a", &["192.0.2.7"]);
    assert_eq!(store_node(&store, &first).unwrap(), Some(2));
    assert_eq!(store_node(&store, &first).unwrap(), None);
    let moved = node("a", &["192.0.2.8", "2001:db8::8"]);
    assert_eq!(store_node(&store, &moved).unwrap(), Some(3));
    assert_eq!(nodes(&store).unwrap(), [moved]);
    assert_eq!(load_state(&store).unwrap().1, 3);
}

#[test]
fn id_of_a_node_never_changes() {
    let store = MemoryStore::default();
    let id = Id::from_random(0x1234_5678);
    assert_eq!(node_id(&store, id).unwrap(), (id, Some(1)));
    assert_eq!(node_id(&store, Id::from_random(9)).unwrap(), (id, None));
    assert!(load_state(&store).is_ok());
}

#[test]
fn removed_node_is_marked_and_is_no_peer() {
    let store = MemoryStore::default();
    let (a, b) = (node("a", &["192.0.2.1"]), node("b", &["192.0.2.2"]));
    store_node(&store, &a).unwrap();
    store.delete_if("local/node", Expected::Anything).unwrap();
    store_node(&store, &b).unwrap();
    let peers = |own: &str| -> Vec<String> {
        let cluster = overlays::load_cluster(&store, &own.parse().unwrap()).unwrap();
        let mut state = State::default();
        state.set_cluster(cluster);
        state.peers().map(|peer| peer.name.to_string()).collect()
    };
    assert_eq!(peers("a"), ["b"]);
    remove_node(&store, &b).unwrap();
    assert_eq!(peers("a"), Vec::<String>::new());
    assert!(
        super::super::node(&store, &b.name)
            .unwrap()
            .unwrap()
            .removed
    );
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
