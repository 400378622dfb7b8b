//! The contract of stores. `contract_tests!` runs it on one kind.

use netpath::store::{
    Event, Expected, HELD, HoldState, Revision, Store, StoreError, Versioned, Watch, WatchError,
    Write,
};
use proptest::{prelude::*, test_runner::TestRunner};
use std::{sync::Arc, time::Duration};

/// An empty store, and what exists as long as it is used: a directory or servers.
pub struct Subject {
    /// The store. Declared first, so that it is closed first.
    pub store: Arc<dyn Store>,
    /// Kept until the test ends.
    pub environment: Box<dyn std::any::Any>,
}

/// The tests of the contract, each with an empty store that the function `$make` returns as a [`Subject`].
#[macro_export]
macro_rules! contract_tests {
    ($make:path) => {
        $crate::contract_tests!(@each $make:
            empty_store_has_no_keys
            commit_sets_its_revision_on_written_keys
            unexpected_revision_changes_nothing
            deleting_a_missing_key_changes_nothing
            key_written_twice_is_refused
            list_returns_the_keys_of_the_prefix_in_order
            commit_above_the_limit_is_refused
            largest_commit_is_executed
            watch_receives_later_changes_in_order
            unread_watch_reports_lost_events
            watch_ends_with_its_store
            held_key_has_one_holder
            random_commits_have_the_results_of_the_model
        );
    };
    (@each $make:path: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::contract::$name($make());
        })*
    };
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
    let entries = store.list(prefix).expect("list").entries;
    entries.into_iter().map(|entry| entry.key).collect()
}

fn commit(store: &dyn Store, writes: &[Write]) -> Revision {
    store.commit(writes).expect("commit")
}

fn versioned(key: &str, value: &str, revision: Revision) -> Versioned {
    Versioned {
        key: key.to_owned(),
        value: value.into(),
        revision,
    }
}

fn next(watch: &mut Watch) -> Result<Event, WatchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), watch.next())
            .await
            .expect("an event within 20 s")
    })
}

#[expect(missing_docs, reason = "the names say what is tested")]
mod cases {
    use proptest::strategy::ValueTree as _;

    use super::*;

    pub fn empty_store_has_no_keys(Subject { store, .. }: Subject) {
        let listing = store.list("").expect("list");
        assert_eq!(listing.entries, []);
        assert_eq!(store.get("a").expect("get"), None);
        let first = commit(store.as_ref(), &[put("a", "1")]);
        assert!(first > listing.revision);
    }

    pub fn commit_sets_its_revision_on_written_keys(Subject { store, .. }: Subject) {
        let first = commit(store.as_ref(), &[put("a", "1"), put("b", "2")]);
        let second = store.put_if("a", b"3", Expected::Anything).expect("put");
        assert!(second > first);
        let listing = store.list("").expect("list");
        assert_eq!(listing.revision, second);
        let entries = [versioned("a", "3", second), versioned("b", "2", first)];
        assert_eq!(listing.entries, entries);
        assert_eq!(
            store.get("b").expect("get"),
            Some(versioned("b", "2", first))
        );
    }

    pub fn unexpected_revision_changes_nothing(Subject { store, .. }: Subject) {
        let first = store.put_if("a", b"1", Expected::Nothing).expect("put");
        for (key, expected) in [
            ("a", Expected::Nothing),
            ("a", Expected::Revision(first + 6)),
            ("b", Expected::Revision(first)),
        ] {
            let wrong = Write {
                expected,
                ..put(key, "2")
            };
            let found = (key == "a").then_some(first);
            for value in [Some(b"2".to_vec()), None] {
                let wrong = Write {
                    value,
                    ..wrong.clone()
                };
                let error = store.commit(&[put("c", "3"), wrong]).expect_err("refused");
                let is_conflict = matches!(&error, StoreError::Conflict { key: other, found: is, .. } if other == key && *is == found);
                assert!(is_conflict, "{error}");
            }
        }
        assert_eq!(keys(store.as_ref(), ""), ["a"]);
        assert_eq!(store.list("").expect("list").revision, first);
        let second = store
            .put_if("a", b"2", Expected::Revision(first))
            .expect("put");
        let third = store
            .delete_if("a", Expected::Revision(second))
            .expect("delete");
        let fourth = store.put_if("a", b"3", Expected::Nothing).expect("put");
        assert!(first < second && second < third && third < fourth);
    }

    pub fn deleting_a_missing_key_changes_nothing(Subject { store, .. }: Subject) {
        let first = commit(store.as_ref(), &[put("a", "1")]);
        for expected in [Expected::Anything, Expected::Nothing] {
            assert_eq!(store.delete_if("b", expected).expect("delete"), first);
        }
        assert_eq!(commit(store.as_ref(), &[]), first);
        assert_eq!(commit(store.as_ref(), &[delete("b"), delete("c")]), first);
        let second = commit(store.as_ref(), &[delete("a"), delete("b")]);
        assert!(second > first);
        assert_eq!(keys(store.as_ref(), ""), [""; 0]);
    }

    pub fn key_written_twice_is_refused(Subject { store, .. }: Subject) {
        let error = store
            .commit(&[put("a", "1"), delete("a")])
            .expect_err("refused");
        assert!(matches!(error, StoreError::Twice { .. }), "{error}");
        assert!(keys(store.as_ref(), "").is_empty());
    }

    pub fn list_returns_the_keys_of_the_prefix_in_order(Subject { store, .. }: Subject) {
        let written = ["b/2", "a", "b/1", "b", "b0", "c/ü", "c/1"];
        commit(store.as_ref(), &written.map(|key| put(key, "")));
        assert_eq!(keys(store.as_ref(), "b/"), ["b/1", "b/2"]);
        assert_eq!(keys(store.as_ref(), "b"), ["b", "b/1", "b/2", "b0"]);
        assert_eq!(keys(store.as_ref(), "c/"), ["c/1", "c/ü"]);
        assert_eq!(keys(store.as_ref(), "d"), [""; 0]);
    }

    pub fn commit_above_the_limit_is_refused(Subject { store, .. }: Subject) {
        let limit = store.limit();
        if limit == usize::MAX {
            return;
        }
        let writes: Vec<_> = (0..=limit)
            .map(|index| put(&format!("k{index}"), ""))
            .collect();
        let error = store.commit(&writes).expect_err("refused");
        let is_too_large = matches!(error, StoreError::TooLarge { writes, limit: of } if writes == limit + 1 && of == limit);
        assert!(is_too_large, "{error}");
        assert!(keys(store.as_ref(), "").is_empty());
    }

    pub fn largest_commit_is_executed(Subject { store, .. }: Subject) {
        let count = store.limit().min(1000);
        commit(store.as_ref(), &[put("a", "")]);
        let mut watch = store.watch("k");
        let writes: Vec<_> = (0..count)
            .map(|index| Write {
                expected: Expected::Nothing,
                ..put(&format!("k{index:04}"), "1")
            })
            .collect();
        let first = commit(store.as_ref(), &writes);
        let listing = store.list("k").expect("list");
        assert_eq!(listing.entries.len(), count);
        assert!(listing.entries.iter().all(|entry| entry.revision == first));
        for write in &writes {
            assert_eq!(next(&mut watch).expect("event").key, write.key);
        }
        let error = store.commit(&writes).expect_err("conflict");
        assert!(matches!(error, StoreError::Conflict { .. }), "{error}");
        let writes: Vec<_> = writes.iter().map(|write| delete(&write.key)).collect();
        commit(store.as_ref(), &writes);
        assert!(keys(store.as_ref(), "k").is_empty());
    }

    pub fn watch_receives_later_changes_in_order(Subject { store, .. }: Subject) {
        commit(store.as_ref(), &[put("a/0", "old")]);
        let mut watch = store.watch("a/");
        let first = commit(store.as_ref(), &[put("a/1", "1"), put("b/1", "2")]);
        let second = commit(store.as_ref(), &[delete("a/0"), delete("a/7")]);
        let wrong = store.put_if("a/1", b"3", Expected::Revision(second));
        wrong.expect_err("conflict");
        let event = |key: &str, value: Option<&str>, revision| Event {
            key: key.to_owned(),
            value: value.map(Into::into),
            revision,
        };
        assert_eq!(next(&mut watch), Ok(event("a/1", Some("1"), first)));
        assert_eq!(next(&mut watch), Ok(event("a/0", None, second)));
        let third = commit(store.as_ref(), &[put("a/1", "3")]);
        assert_eq!(next(&mut watch), Ok(event("a/1", Some("3"), third)));
    }

    pub fn unread_watch_reports_lost_events(Subject { store, .. }: Subject) {
        let first = commit(store.as_ref(), &[put("a", "")]);
        let mut watch = store.watch("a");
        // More changes than a watch keeps.
        for _ in 0..30 {
            let writes: Vec<_> = (0..50)
                .map(|index| put(&format!("a{index}"), "x"))
                .collect();
            commit(store.as_ref(), &writes);
        }
        let last = commit(store.as_ref(), &[put("a", "last")]);
        // A distributed store sends them later.
        std::thread::sleep(Duration::from_millis(if store.limit() == usize::MAX {
            0
        } else {
            1500
        }));
        let mut lost = false;
        let mut newest = first;
        while newest < last {
            match next(&mut watch) {
                Ok(event) => newest = event.revision,
                Err(WatchError::Lagged) => {
                    lost = true;
                    newest = newest.max(store.list("").expect("list").revision);
                }
                Err(WatchError::Closed) => panic!("the store is open"),
            }
        }
        assert!(
            lost || store.kind() == "consul",
            "events were lost without an error"
        );
    }

    pub fn watch_ends_with_its_store(Subject { store, environment }: Subject) {
        commit(store.as_ref(), &[put("a", "")]);
        let mut watch = store.watch("");
        drop(store);
        assert_eq!(next(&mut watch), Err(WatchError::Closed));
        drop(environment);
    }

    pub fn held_key_has_one_holder(Subject { store, .. }: Subject) {
        let key = format!("{HELD}node");
        let ttl = Duration::from_secs(10);
        let error = store.hold("other", b"1", ttl).expect_err("refused");
        assert!(matches!(error, StoreError::NotHeld { .. }), "{error}");
        commit(store.as_ref(), &[put("a", "")]);
        let mut watch = store.watch(HELD);
        let hold = store.hold(&key, b"one", ttl).expect("hold");
        assert_eq!(hold.state(), HoldState::Held);
        let event = next(&mut watch).expect("event");
        assert_eq!((&event.key, event.value), (&key, Some(b"one".to_vec())));
        let error = store.hold(&key, b"two", ttl).expect_err("held");
        assert!(
            matches!(&error, StoreError::Held { by, .. } if by == "one"),
            "{error}"
        );
        // The same node after a restart.
        let again = store.hold(&key, b"one", ttl).expect("hold");
        assert_eq!(again.state(), HoldState::Held);
        let found = store.get(&key).expect("get").expect("the key exists");
        assert_eq!(found.value, b"one");
    }

    #[derive(Clone, Debug)]
    struct Step {
        key: u8,
        value: Option<u8>,
        /// Whether the write expects nothing, the present revision, or another one.
        expected: u8,
    }

    fn step() -> impl Strategy<Value = Step> {
        (0_u8..5, any::<Option<u8>>(), 0_u8..6).prop_map(|(key, value, expected)| Step {
            key,
            value,
            expected,
        })
    }

    /// Compares the results with those of a map.
    pub fn random_commits_have_the_results_of_the_model(Subject { store, .. }: Subject) {
        let store = store.as_ref();
        let mut model = std::collections::BTreeMap::<String, (Vec<u8>, Revision)>::new();
        let mut last = commit(store, &[put("k", "")]);
        model.insert("k".to_owned(), (Vec::new(), last));
        let commits = prop::collection::vec(prop::collection::vec(step(), 0..4), 80);
        let mut runner = TestRunner::deterministic();
        let commits = commits.new_tree(&mut runner).expect("commits").current();
        for steps in commits {
            let writes: Vec<Write> = steps
                .into_iter()
                .map(|step| {
                    let key = format!("k{}", step.key);
                    let present = model.get(&key).map(|(_, revision)| *revision);
                    let expected = match step.expected {
                        0 => Expected::Nothing,
                        1 => Expected::Revision(last + 5),
                        2 | 3 => present.map_or(Expected::Nothing, Expected::Revision),
                        _ => Expected::Anything,
                    };
                    Write {
                        key,
                        value: step.value.map(|value| vec![value]),
                        expected,
                    }
                })
                .collect();
            let distinct: std::collections::BTreeSet<_> =
                writes.iter().map(|write| &write.key).collect();
            let fits = |write: &Write| match write.expected {
                Expected::Anything => true,
                Expected::Nothing => !model.contains_key(&write.key),
                Expected::Revision(revision) => model
                    .get(&write.key)
                    .is_some_and(|(_, found)| *found == revision),
            };
            match store.commit(&writes) {
                Ok(revision) => {
                    assert!(writes.iter().all(fits), "{writes:?}");
                    let changes = writes
                        .iter()
                        .any(|write| write.value.is_some() || model.contains_key(&write.key));
                    assert_eq!(revision > last, changes, "{writes:?}");
                    last = revision;
                    for write in writes {
                        match write.value {
                            Some(value) => drop(model.insert(write.key, (value, revision))),
                            None => drop(model.remove(&write.key)),
                        }
                    }
                }
                Err(StoreError::Twice { .. }) => assert!(distinct.len() < writes.len()),
                Err(StoreError::Conflict { key, .. }) => {
                    let first = writes.iter().find(|write| !fits(write));
                    assert_eq!(first.map(|write| &write.key), Some(&key), "{writes:?}");
                }
                Err(error) => panic!("{error}"),
            }
            let listing = store.list("").expect("list");
            assert_eq!(listing.revision, last);
            let found = listing.entries.into_iter();
            let found = found.map(|entry| (entry.key, (entry.value, entry.revision)));
            assert!(found.eq(model.clone()));
        }
    }
}

pub use cases::*;

#[cfg(test)]
mod file {
    use super::{Arc, Subject};

    fn subject() -> Subject {
        let directory = tempfile::TempDir::new().expect("directory");
        let store = netpath::store::FileStore::open(&directory.path().join("store"));
        Subject {
            store: Arc::new(store.expect("store")),
            environment: Box::new(directory),
        }
    }

    crate::contract_tests!(subject);
}

#[cfg(test)]
mod memory {
    use super::{Arc, Subject};

    fn subject() -> Subject {
        Subject {
            store: Arc::new(netpath::store::MemoryStore::default()),
            environment: Box::new(()),
        }
    }

    crate::contract_tests!(subject);
}
