//! The contract of stores, tested on each implementation.

use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    Event, Expected, FileStore, MemoryStore, Store, StoreError, Versioned, WatchError, Write,
};

/// A store of each kind, and the directory of the file store, which is removed when it is dropped.
fn stores() -> (TempDir, [Box<dyn Store>; 2]) {
    let directory = TempDir::new().unwrap();
    let file = FileStore::open(&directory.path().join("store")).unwrap();
    (
        directory,
        [Box::new(file), Box::new(MemoryStore::default())],
    )
}

fn on_each(test: impl Fn(&dyn Store)) {
    let (_directory, stores) = stores();
    for store in &stores {
        test(store.as_ref());
    }
}

fn put(key: &str, value: &str) -> Write {
    Write {
        key: key.to_owned(),
        value: Some(value.into()),
        expected: Expected::Anything,
    }
}

fn delete(key: &str) -> Write {
    Write {
        value: None,
        ..put(key, "")
    }
}

fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    let entries = store.list(prefix).unwrap().entries;
    entries.into_iter().map(|entry| entry.key).collect()
}

#[test]
fn empty_store_has_revision_0() {
    on_each(|store| {
        let listing = store.list("").unwrap();
        assert_eq!((listing.revision, listing.entries.len()), (0, 0));
        assert_eq!(store.get("a").unwrap(), None);
    });
}

#[test]
fn commit_sets_its_revision_on_written_keys() {
    on_each(|store| {
        assert_eq!(store.commit(&[put("a", "1"), put("b", "2")]).unwrap(), 1);
        assert_eq!(store.put_if("a", b"3", Expected::Anything).unwrap(), 2);
        let entry = |key: &str, value: &str, revision| Versioned {
            key: key.to_owned(),
            value: value.into(),
            revision,
        };
        let listing = store.list("").unwrap();
        assert_eq!(listing.revision, 2);
        assert_eq!(listing.entries, [entry("a", "3", 2), entry("b", "2", 1)]);
    });
}

#[test]
fn unexpected_revision_changes_nothing() {
    on_each(|store| {
        store.put_if("a", b"1", Expected::Nothing).unwrap();
        for (key, expected) in [
            ("a", Expected::Nothing),
            ("a", Expected::Revision(7)),
            ("b", Expected::Revision(1)),
        ] {
            let wrong = Write {
                expected,
                ..put(key, "2")
            };
            let error = store.commit(&[put("c", "3"), wrong.clone()]).unwrap_err();
            assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
            let wrong = Write {
                value: None,
                ..wrong
            };
            assert!(store.commit(&[put("c", "3"), wrong]).is_err());
        }
        assert_eq!(keys(store, ""), ["a"]);
        assert_eq!(store.list("").unwrap().revision, 1);
        assert_eq!(store.put_if("a", b"2", Expected::Revision(1)).unwrap(), 2);
        assert_eq!(store.delete_if("a", Expected::Revision(2)).unwrap(), 3);
        assert_eq!(store.put_if("a", b"3", Expected::Nothing).unwrap(), 4);
    });
}

#[test]
fn deleting_a_missing_key_changes_nothing() {
    on_each(|store| {
        store.commit(&[put("a", "1")]).unwrap();
        assert_eq!(store.delete_if("b", Expected::Anything).unwrap(), 1);
        assert_eq!(store.delete_if("b", Expected::Nothing).unwrap(), 1);
        assert_eq!(store.commit(&[]).unwrap(), 1);
        assert_eq!(store.delete_if("a", Expected::Anything).unwrap(), 2);
    });
}

#[test]
fn key_written_twice_is_refused() {
    on_each(|store| {
        let error = store.commit(&[put("a", "1"), delete("a")]).unwrap_err();
        assert!(matches!(error, StoreError::Twice { .. }), "{error}");
        assert!(keys(store, "").is_empty());
    });
}

#[test]
fn list_returns_the_keys_of_the_prefix_in_order() {
    on_each(|store| {
        store
            .commit(&["b/2", "a", "b/1", "b", "b0", "c/1"].map(|key| put(key, "")))
            .unwrap();
        assert_eq!(keys(store, "b/"), ["b/1", "b/2"]);
        assert_eq!(keys(store, "b"), ["b", "b/1", "b/2", "b0"]);
        assert_eq!(keys(store, "d"), [""; 0]);
    });
}

#[test]
fn watch_receives_later_changes_in_order() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    on_each(|store| {
        store.commit(&[put("a/0", "old")]).unwrap();
        let mut watch = store.watch("a/");
        store.commit(&[put("a/1", "1"), put("b/1", "2")]).unwrap();
        store.commit(&[delete("a/0"), delete("a/7")]).unwrap();
        store
            .put_if("a/1", b"3", Expected::Revision(1))
            .unwrap_err();
        let event = |key: &str, value: Option<&str>, revision| Event {
            key: key.to_owned(),
            value: value.map(Into::into),
            revision,
        };
        runtime.block_on(async {
            assert_eq!(watch.next().await, Ok(event("a/1", Some("1"), 2)));
            assert_eq!(watch.next().await, Ok(event("a/0", None, 3)));
        });
        for _ in 0..2000 {
            store.commit(&[put("a/1", "x")]).unwrap();
            if store.kind() == "file" {
                break;
            }
        }
        if store.kind() == "memory" {
            let lagged = runtime.block_on(watch.next());
            assert_eq!(lagged, Err(WatchError::Lagged));
        }
        assert!(runtime.block_on(watch.next()).is_ok());
    });
}

#[test]
fn watch_ends_with_its_store() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let (_directory, stores) = stores();
    for store in stores {
        let mut watch = store.watch("");
        drop(store);
        assert_eq!(runtime.block_on(watch.next()), Err(WatchError::Closed));
    }
}

#[derive(Clone, Debug)]
struct Step {
    key: u8,
    value: Option<u8>,
    expected: Expected,
}

fn step() -> impl Strategy<Value = Step> {
    let expected = prop_oneof![
        2 => Just(Expected::Anything),
        1 => Just(Expected::Nothing),
        1 => (0_u64..8).prop_map(Expected::Revision),
    ];
    (0_u8..5, any::<Option<u8>>(), expected).prop_map(|(key, value, expected)| Step {
        key,
        value,
        expected,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn stores_return_equal_results_for_random_commits(commits in prop::collection::vec(prop::collection::vec(step(), 0..4), 0..12)) {
        let (_directory, [one, other]) = stores();
        for steps in commits {
            let writes: Vec<Write> = steps
                .into_iter()
                .map(|step| Write {
                    key: format!("k{}", step.key),
                    value: step.value.map(|value| vec![value]),
                    expected: step.expected,
                })
                .collect();
            let result = |store: &dyn Store| store.commit(&writes).map_err(|error| error.to_string());
            prop_assert_eq!(result(one.as_ref()), result(other.as_ref()));
            prop_assert_eq!(one.list("").unwrap(), other.list("").unwrap());
        }
    }
}
