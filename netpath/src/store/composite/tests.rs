use tempfile::TempDir;

use super::*;
use crate::store::{Event, Expected, MemoryStore, WatchError};

/// A composite store with a store in memory as the distributed one.
struct Cluster {
    directory: TempDir,
    remote: Arc<MemoryStore>,
}

impl Cluster {
    fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            remote: Arc::default(),
        }
    }

    fn node(&self, name: &str) -> CompositeStore {
        let file = FileStore::open(&self.directory.path().join(name)).unwrap();
        let remote = Arc::clone(&self.remote);
        CompositeStore::open(file, |_| Ok(remote)).unwrap()
    }
}

fn put(key: &str, value: &str, expected: Expected) -> Write {
    Write {
        key: key.to_owned(),
        value: Some(value.into()),
        expected,
    }
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let entries = store.list(prefix).unwrap().entries;
    entries.into_iter().map(|entry| entry.key).collect()
}

#[track_caller]
fn eventually(condition: impl Fn() -> bool) {
    let start = std::time::Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn keys_are_routed_by_their_prefix() {
    let cluster = Cluster::new();
    let node = cluster.node("one");
    let writes = ["local/a", "shared/a", "zone"].map(|key| put(key, "1", Expected::Nothing));
    let revision = node.commit(&writes).unwrap();
    assert_eq!(keys(cluster.remote.as_ref(), ""), ["shared/a"]);
    assert_eq!(keys(&node, ""), ["local/a", "shared/a", "zone"]);
    assert_eq!(keys(&node, "shared/"), ["shared/a"]);
    assert_eq!(keys(&node, "s"), ["shared/a"]);
    assert_eq!(keys(&node, "local/"), ["local/a"]);
    assert_eq!(node.list("").unwrap().revision, revision);
    let shared = node.get("shared/a").unwrap().unwrap();
    assert_eq!(
        Some(&shared),
        cluster.remote.get("shared/a").unwrap().as_ref()
    );
}

#[test]
fn conflict_on_one_side_changes_neither() {
    let cluster = Cluster::new();
    let node = cluster.node("one");
    node.commit(&[
        put("local/a", "1", Expected::Nothing),
        put("shared/a", "1", Expected::Nothing),
    ])
    .unwrap();
    for (local, shared) in [
        (Expected::Nothing, Expected::Anything),
        (Expected::Anything, Expected::Nothing),
    ] {
        let writes = [put("local/a", "2", local), put("shared/a", "2", shared)];
        let error = node.commit(&writes).unwrap_err();
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        for key in ["local/a", "shared/a"] {
            assert_eq!(node.get(key).unwrap().unwrap().value, b"1");
        }
    }
}

#[test]
fn change_of_another_node_arrives() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.node("one"), cluster.node("two"));
    let mut watch = two.watch("shared/");
    one.commit(&[put("shared/a", "1", Expected::Nothing)])
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let event = runtime.block_on(watch.next()).unwrap();
    assert_eq!(
        (event.key.as_str(), event.value.as_deref()),
        ("shared/a", Some(&b"1"[..]))
    );
    assert!(two.list("").unwrap().revision >= event.revision);
    one.delete_if("shared/a", Expected::Anything).unwrap();
    let event = runtime.block_on(watch.next()).unwrap();
    assert_eq!((event.key.as_str(), event.value), ("shared/a", None));
    assert_eq!(two.get("shared/a").unwrap(), None);
}

#[test]
fn commit_from_an_outdated_value_is_refused_and_its_repetition_accepted() {
    let cluster = Cluster::new();
    let (one, two) = (cluster.node("one"), cluster.node("two"));
    for round in 0..50 {
        for node in [&one, &two] {
            loop {
                let found = node.get("shared/a").unwrap();
                let count = found.as_ref().map_or(0, |found| found.value.len());
                let expected = found.map_or(Expected::Nothing, |found| {
                    Expected::Revision(found.revision)
                });
                match node.commit(&[put("shared/a", &"x".repeat(count + 1), expected)]) {
                    Ok(_) => break,
                    Err(StoreError::Conflict { .. }) => {}
                    Err(error) => panic!("{round}: {error}"),
                }
            }
        }
    }
    assert_eq!(
        cluster.remote.get("shared/a").unwrap().unwrap().value.len(),
        100
    );
}

#[test]
fn own_deletion_is_not_undone_by_earlier_events() {
    let cluster = Cluster::new();
    let node = cluster.node("one");
    let mut watch = node.watch("shared/");
    for _ in 0..200 {
        node.commit(&[put("shared/a", "1", Expected::Nothing)])
            .unwrap();
        node.delete_if("shared/a", Expected::Anything).unwrap();
    }
    node.commit(&[put("shared/end", "", Expected::Nothing)])
        .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let mut present = false;
    loop {
        match runtime.block_on(watch.next()) {
            Ok(Event { key, .. }) if key == "shared/end" => break,
            Ok(Event { value, .. }) => {
                assert_ne!(present, value.is_some(), "each change is reported once");
                present = value.is_some();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn cache_is_updated_at_the_next_start() {
    let cluster = Cluster::new();
    let node = cluster.node("one");
    node.commit(&[
        put("shared/a", "1", Expected::Nothing),
        put("shared/b", "1", Expected::Nothing),
    ])
    .unwrap();
    drop(node);
    cluster
        .remote
        .put_if("shared/c", b"2", Expected::Nothing)
        .unwrap();
    cluster
        .remote
        .delete_if("shared/a", Expected::Anything)
        .unwrap();
    assert_eq!(keys(&cluster.node("one"), ""), ["shared/b", "shared/c"]);
}

#[test]
fn snapshot_of_the_distributed_store_replaces_later_values() {
    let mut cluster = Cluster::new();
    let node = cluster.node("one");
    for value in ["1", "2", "3"] {
        node.commit(&[put("shared/a", value, Expected::Anything)])
            .unwrap();
    }
    node.commit(&[put("shared/b", "1", Expected::Anything)])
        .unwrap();
    drop(node);
    // Its revisions are lower than those of the cache.
    cluster.remote = Arc::default();
    cluster
        .remote
        .put_if("shared/a", b"1", Expected::Nothing)
        .unwrap();
    let node = cluster.node("one");
    assert_eq!(keys(&node, ""), ["shared/a"]);
    let found = node.get("shared/a").unwrap().unwrap();
    assert_eq!((found.value.as_slice(), found.revision), (&b"1"[..], 1));
}

#[test]
fn foreign_keys_of_the_distributed_store_are_refused() {
    let cluster = Cluster::new();
    cluster
        .remote
        .put_if("other/a", b"", Expected::Nothing)
        .unwrap();
    let file = FileStore::open(&cluster.directory.path().join("one")).unwrap();
    let remote = Arc::clone(&cluster.remote);
    let error = CompositeStore::open(file, |_| Ok(remote)).err().unwrap();
    assert!(error.to_string().contains("'other/a'"), "{error}");
}

#[test]
fn file_of_another_kind_of_store_is_refused() {
    let cluster = Cluster::new();
    let path = cluster.directory.path().join("one");
    let file = FileStore::open(&path).unwrap();
    for key in ["shared/nodes/one", "local/node"] {
        file.put_if(key, b"{}", Expected::Nothing).unwrap();
    }
    drop(file);
    let node = cluster.node("one");
    assert_eq!(
        keys(&node, ""),
        ["local/node"],
        "the record is written again"
    );
    node.commit(&[put("shared/a", "1", Expected::Nothing)])
        .unwrap();
    drop(node);
    let error = FileStore::open(&path).unwrap().alone().unwrap_err();
    assert!(matches!(error, StoreError::OtherKind { .. }), "{error}");

    let file = FileStore::open(&cluster.directory.path().join("two")).unwrap();
    file.put_if("shared/networks/a", b"{}", Expected::Nothing)
        .unwrap();
    let remote = Arc::clone(&cluster.remote);
    let error = CompositeStore::open(file, |_| Ok(remote)).err().unwrap();
    assert!(matches!(error, StoreError::OtherKind { .. }), "{error}");
}

#[test]
fn watch_ends_with_the_store() {
    let cluster = Cluster::new();
    let node = cluster.node("one");
    let mut watch = node.watch("");
    drop(node);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(watch.next()), Err(WatchError::Closed));
    eventually(|| Arc::strong_count(&cluster.remote) == 1);
}
