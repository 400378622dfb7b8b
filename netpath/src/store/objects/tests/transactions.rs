//! Overlay networks and claims over one store that several nodes use.

use std::net::IpAddr;

use proptest::prelude::*;

use super::{super::overlays::*, ObjectError, evaluate};
use crate::{
    model::{
        Layout, Name, Network, OverlayRanges, OwnClaims, State, Vni,
        claims::Claims,
        request::{NetworkRequest, RequestError},
    },
    store::{Expected, MemoryStore, Store, StoreError, Versioned, Write},
};

/// Why a transaction of a test fails.
#[derive(Debug)]
enum Failure {
    Request(RequestError),
    Object(#[expect(dead_code, reason = "shown by Debug")] ObjectError),
    Full,
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn request(text: &str, subnet: Option<&str>, vni: Option<u32>) -> NetworkRequest {
    NetworkRequest {
        driver: crate::model::Driver::Overlay,
        subnets: subnet
            .map(|text| text.parse().unwrap())
            .into_iter()
            .collect(),
        vni,
        ..NetworkRequest::new(name(text))
    }
}

/// Creates an overlay network as a node with this state does.
fn create(store: &dyn Store, state: &State, request: &NetworkRequest) -> Result<Network, Failure> {
    create_network(store, |ranges: &OverlayRanges| {
        evaluate(state, |state, env| state.new_overlay(request, ranges, env))
            .map_err(Failure::Request)
    })
}

fn refused(result: Result<Network, Failure>) -> String {
    match result {
        Err(Failure::Request(error)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_networks_have_no_vni_and_no_subnet_in_common() {
    let store = MemoryStore::default();
    let state = State::default();
    let first = create(&store, &state, &request("a", None, None)).unwrap();
    let second = create(&store, &state, &request("b", None, None)).unwrap();
    let vni = |network: &Network| network.overlay.unwrap().vni;
    assert_ne!(vni(&first), vni(&second));
    assert_ne!(first.subnets[0].prefix, second.subnets[0].prefix);
    assert_ne!(first.id, second.id);

    let named = request("c", None, Some(vni(&first).number()));
    assert_eq!(
        refused(create(&store, &state, &named)),
        format!(
            "network 'c' cannot have --vni {}: network 'a' has it",
            vni(&first)
        )
    );
    let prefix = first.subnets[0].prefix.to_string();
    let error = refused(create(&store, &state, &request("c", Some(&prefix), None)));
    assert!(
        error.contains("overlaps") && error.contains("'a'"),
        "{error}"
    );
    let error = refused(create(&store, &state, &request("a", None, None)));
    assert!(error.contains("exists"), "{error}");
    for vni in [0, Vni::MAX + 1] {
        let error = refused(create(&store, &state, &request("c", None, Some(vni))));
        assert!(error.contains("between 1 and 16777215"), "{error}");
    }
    let cluster = load_cluster(&store, &name("x")).unwrap();
    let names: Vec<_> = cluster.networks().map(|entry| &entry.network).collect();
    assert_eq!(names, [&first, &second]);
}

#[test]
fn network_with_claims_is_not_removed() {
    let store = MemoryStore::default();
    let network = create(&store, &State::default(), &request("a", None, None)).unwrap();
    let layout = Layout::of(&network.subnets);
    for (node, other) in [("n1", "n2"), ("n2", "n1")] {
        claim(&store, &network.name, &layout, &name(node), 1).unwrap();
        assert_eq!(remove_network(&store, &network.name).unwrap(), [name(node)]);
        release(&store, &network.name, &name(other));
        release(&store, &network.name, &name(node));
    }
    assert_eq!(remove_network(&store, &network.name).unwrap(), []);
    let left = store.list("shared/").unwrap().entries;
    let keys: Vec<_> = left.iter().map(|entry| entry.key.as_str()).collect();
    assert_eq!(keys, ["shared/ranges"]);
    let again = create(&store, &State::default(), &request("a", None, None)).unwrap();
    assert_ne!(again.overlay, network.overlay, "a VNI is reused late");
}

#[test]
fn lost_network_is_restored_unless_another_one_has_its_properties() {
    let store = MemoryStore::default();
    let state = State::default();
    let network = create(&store, &state, &request("a", None, None)).unwrap();
    let claims = Claims::of(network.id);
    for entry in store.list("shared/").unwrap().entries {
        store.delete_if(&entry.key, Expected::Anything).unwrap();
    }
    assert!(restore_network(&store, &network, &claims).unwrap());
    let cluster = load_cluster(&store, &name("x")).unwrap();
    assert_eq!(cluster.network(&network.name).unwrap().network, network);
    // A second node with the same network changes nothing.
    let revision = store.list("shared/blocks/").unwrap();
    assert!(restore_network(&store, &network, &claims).unwrap());
    assert_eq!(
        store.list("shared/blocks/").unwrap().entries,
        revision.entries
    );

    assert_eq!(remove_network(&store, &network.name).unwrap(), []);
    let vni = network.overlay.unwrap().vni.number();
    create(
        &store,
        &state,
        &request("b", Some("10.77.0.0/16"), Some(vni)),
    )
    .unwrap();
    assert!(!restore_network(&store, &network, &claims).unwrap());
}

fn claim(
    store: &dyn Store,
    network: &Name,
    layout: &Layout,
    node: &Name,
    since: u64,
) -> Result<Claims, Failure> {
    let claims = change_claims(store, network, |claims| {
        claims
            .claim(layout, node, since)
            .map(drop)
            .ok_or(Failure::Full)
    });
    Ok(claims?.unwrap())
}

fn release(store: &dyn Store, network: &Name, node: &Name) {
    change_claims(store, network, |claims| -> Result<(), Failure> {
        claims.release(node);
        Ok(())
    })
    .unwrap();
}

/// What another node does.
type Other<'a> = Box<dyn FnOnce(&MemoryStore) + Send + 'a>;

/// A store in which other nodes make commits between the reads and the commit of a transaction.
struct Interleaved<'a> {
    store: &'a MemoryStore,
    /// What another node does before the next commits.
    others: std::sync::Mutex<Vec<Other<'a>>>,
}

impl Store for Interleaved<'_> {
    fn kind(&self) -> &'static str {
        self.store.kind()
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Result<crate::store::Listing, StoreError> {
        self.store.list(prefix)
    }

    fn commit(&self, writes: &[Write]) -> Result<u64, StoreError> {
        let other = self.others.lock().unwrap().pop();
        if let Some(other) = other {
            other(self.store);
        }
        self.store.commit(writes)
    }

    fn write_failure(&self) -> Option<String> {
        None
    }

    fn hold(
        &self,
        key: &str,
        value: &[u8],
        ttl: std::time::Duration,
    ) -> Result<crate::store::Hold, StoreError> {
        self.store.hold(key, value, ttl)
    }

    fn watch(&self, prefix: &str) -> crate::store::Watch {
        self.store.watch(prefix)
    }
}

/// One step: a node claims or releases, or the store is restored from a snapshot.
#[derive(Clone, Copy, Debug)]
enum Step {
    Claim(u8),
    ClaimTogether(u8, u8),
    Keep(u8, u32),
    Release(u8),
    Snapshot,
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..3).prop_map(Step::Claim),
        4 => (0_u8..3, 0_u8..3).prop_map(|(one, other)| Step::ClaimTogether(one, other)),
        3 => (0_u8..3, 2_u32..60).prop_map(|(node, host)| Step::Keep(node, host)),
        2 => (0_u8..3).prop_map(Step::Release),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restore),
    ]
}

fn node(number: u8) -> Name {
    name(&format!("n{number}"))
}

/// What the nodes have recorded themselves.
type Recorded = std::collections::BTreeMap<Name, OwnClaims>;

fn record(recorded: &mut Recorded, claims: &Claims, layout: &Layout) {
    for number in 0..3 {
        let node = node(number);
        let own = OwnClaims::of(claims, layout, &node).after(layout, recorded.get(&node));
        recorded.insert(node, own);
    }
}

/// No address is in the claims of two nodes.
fn assert_unique(recorded: &Recorded, layout: &Layout) {
    for (node, own) in recorded {
        let prefixes = own.prefixes(layout);
        for (other, others) in recorded.iter().filter(|(other, _)| *other != node) {
            for prefix in others.prefixes(layout) {
                let mut hosts = prefix.hosts();
                let twice = hosts.find(|ip: &IpAddr| {
                    let usable = |own: &OwnClaims, prefixes: &[ipnet::IpNet]| {
                        prefixes.iter().any(|prefix| prefix.contains(ip))
                            && !own.except.contains(ip)
                    };
                    usable(own, &prefixes) && !others.except.contains(ip)
                });
                assert_eq!(twice, None, "{node} and {other}");
            }
        }
    }
}

proptest! {
    #[test]
    fn no_address_is_claimed_twice(steps in prop::collection::vec(step(), 1..40)) {
        let store = MemoryStore::default();
        let network = create(&store, &State::default(), &request("a", Some("10.5.0.0/26"), None)).unwrap();
        let layout = Layout::of(&network.subnets);
        let key = format!("{BLOCKS}a");
        let mut snapshot = store.get(&key).unwrap().unwrap().value;
        let mut recorded = Recorded::new();
        let mut since = 0;
        for step in steps {
            since += 1;
            let latest = |store: &MemoryStore| -> Claims {
                serde_json::from_slice(&store.get(&key).unwrap().unwrap().value).unwrap()
            };
            match step {
                Step::Claim(number) => drop(claim(&store, &network.name, &layout, &node(number), since)),
                Step::ClaimTogether(one, other) => {
                    let (network, layout) = (&network.name, &layout);
                    let second = Box::new(move |store: &MemoryStore| {
                        drop(claim(store, network, layout, &node(other), since));
                    });
                    let interleaved = Interleaved { store: &store, others: vec![second as _].into() };
                    drop(claim(&interleaved, network, layout, &node(one), since));
                }
                Step::Keep(number, host) => {
                    let ip = IpAddr::from(std::net::Ipv4Addr::from_bits(0x0a05_0000 + host));
                    let kept = change_claims(&store, &network.name, |claims| -> Result<(), Failure> {
                        claims.keep(&layout, ip, &node(number), since, None).map_err(|_| Failure::Full)
                    });
                    drop(kept);
                }
                Step::Release(number) => release(&store, &network.name, &node(number)),
                Step::Snapshot => snapshot = store.get(&key).unwrap().unwrap().value,
                Step::Restore => {
                    store.put_if(&key, &snapshot, Expected::Anything).unwrap();
                    // Each node compares its claims twice: the second time, other nodes have confirmed theirs.
                    let before = recorded.clone();
                    for number in [0, 1, 2, 0, 1, 2] {
                        let node = node(number);
                        let empty = OwnClaims::of(&Claims::of(network.id), &layout, &node);
                        let own = recorded.get(&node).cloned().unwrap_or(empty);
                        change_claims(&store, &network.name, |claims| -> Result<(), Failure> {
                            claims.assert(&layout, &node, &own);
                            Ok(())
                        }).unwrap();
                        let found = OwnClaims::of(&latest(&store), &layout, &node);
                        recorded.insert(node, found.after(&layout, Some(&own)));
                        assert_unique(&recorded, &layout);
                    }
                    for (node, own) in &before {
                        prop_assert_eq!(&recorded[node].blocks, &own.blocks);
                        prop_assert!(recorded[node].disputed.is_empty());
                    }
                }
            }
            record(&mut recorded, &latest(&store), &layout);
            assert_unique(&recorded, &layout);
        }
    }
}
