//! Failures of the servers, on each kind. `failure_tests!` runs them on one kind.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use netpath::store::{
    CompositeStore, Event, Expected, FileStore, HELD, HoldState, RemoteProblem, Store, StoreError,
    Watch, WatchError,
};
use netpath_tests::{
    eventually,
    stores::{LATE, Mode, Proxy, Servers},
};
use tempfile::TempDir;

/// The tests of this module, each with servers that the function `$start` starts, whose argument is their number.
#[macro_export]
macro_rules! failure_tests {
    ($start:path) => {
        $crate::failure_tests!(@each $start:
            killed_leader_loses_no_commit_and_no_event
            restarted_server_is_used_again
            silent_server_makes_calls_fail_in_time
            late_first_call_finds_the_store_of_another_one
            watch_resumes_after_an_interruption
            changes_that_are_not_kept_are_reported_as_lost
            restored_snapshot_replaces_the_copy
            held_key_expires_and_is_taken_over
            released_key_is_free_at_once
            newer_schema_is_refused
            foreign_keys_are_refused
            emptied_store_is_refused
            node_serves_its_copy_while_the_store_is_away
            concurrent_writers_lose_no_update
        );
    };
    (@each $start:path: $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::failures::$name($start);
        })*
    };
}

fn open(servers: &impl Servers) -> Arc<dyn Store> {
    servers.open(&servers.settings())
}

fn put(store: &dyn Store, key: &str, value: &str) -> Result<u64, StoreError> {
    store.put_if(key, value.as_bytes(), Expected::Anything)
}

fn problem(error: StoreError) -> RemoteProblem {
    match error {
        StoreError::Remote(error) => error.problem,
        error => panic!("{error}"),
    }
}

/// Repeats a call until it succeeds.
#[track_caller]
fn persist<T>(limit: u64, mut call: impl FnMut() -> Result<T, StoreError>) -> T {
    let start = Instant::now();
    loop {
        match call() {
            Ok(value) => return value,
            Err(error) => {
                assert!(error.can_retry(), "{error}");
                assert!(start.elapsed() < Duration::from_secs(limit), "{error}");
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// The next event of a watch.
#[track_caller]
pub fn next(watch: &mut Watch) -> Result<Event, WatchError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let event = tokio::time::timeout(Duration::from_secs(60), watch.next()).await;
        event.expect("an event within 60 s")
    })
}

pub fn killed_leader_loses_no_commit_and_no_event<S: Servers>(start: fn(usize) -> S) {
    let mut servers = start(3);
    let store = open(&servers);
    put(store.as_ref(), "a", "").unwrap();
    let mut watch = store.watch("k");
    let mut longest = Duration::ZERO;
    for index in 0..60 {
        if index == 20 {
            let leader = servers.leader();
            servers.kill(leader);
        }
        let start = Instant::now();
        // A commit whose result is unknown is found when it is repeated.
        persist(60, || put(store.as_ref(), &format!("k{index:03}"), "1"));
        longest = longest.max(start.elapsed());
    }
    eprintln!("longest commit: {longest:?}");
    let listing = store.list("k").unwrap();
    assert_eq!(listing.entries.len(), 60);
    let mut seen = 0;
    while seen < 60 {
        match next(&mut watch) {
            Ok(event) => seen = seen.max(event.key[1..].parse::<usize>().unwrap() + 1),
            Err(error) => panic!("no event is lost: {error}"),
        }
    }
    assert_eq!(store.unreachable(), None);
}

pub fn restarted_server_is_used_again<S: Servers>(start: fn(usize) -> S) {
    let mut servers = start(1);
    let store = open(&servers);
    let first = put(store.as_ref(), "a", "1").unwrap();
    let mut watch = store.watch("");
    servers.kill(0);
    let error = put(store.as_ref(), "a", "2").unwrap_err();
    assert!(error.can_retry(), "{error}");
    let text = error.to_string();
    assert!(text.contains("127.0.0.1:"), "{text}");
    eventually("it is reported", 10, || store.unreachable().is_some());
    servers.resume(0);
    servers.wait();
    assert_eq!(store.get("a").unwrap().unwrap().revision, first);
    let second = persist(30, || put(store.as_ref(), "a", "3"));
    assert!(second > first);
    while next(&mut watch).map(|event| event.revision) != Ok(second) {}
    eventually("it is reported", 10, || store.unreachable().is_none());
}

pub fn silent_server_makes_calls_fail_in_time<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    let proxy = Proxy::new(&servers.settings());
    let store = servers.open(&proxy.settings());
    put(store.as_ref(), "a", "1").unwrap();
    proxy.set(Mode::Hang);
    for call in [
        &|| store.list("").map(drop) as Result<(), StoreError>,
        &|| put(store.as_ref(), "a", "2").map(drop),
        &|| {
            store
                .hold(&format!("{HELD}a"), b"a", Duration::from_secs(10))
                .map(drop)
        },
    ] as [&dyn Fn() -> Result<(), StoreError>; 3]
    {
        let start = Instant::now();
        let error = call().unwrap_err();
        assert!(error.can_retry(), "{error}");
        assert!(
            start.elapsed() < Duration::from_secs(9),
            "{:?}",
            start.elapsed()
        );
        assert!(matches!(problem(error), RemoteProblem::TimedOut(_)));
    }
    proxy.set(Mode::Forward);
    persist(10, || put(store.as_ref(), "a", "3"));
}

/// The first call finds an empty store and receives the reply after another call has written the schema.
pub fn late_first_call_finds_the_store_of_another_one<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    servers.remove("netpath/");
    let proxy = Proxy::new(&servers.settings());
    let store = servers.open(&proxy.settings());
    proxy.set(Mode::NextIsLate);
    std::thread::scope(|scope| {
        let late = scope.spawn(|| store.get("a"));
        std::thread::sleep(LATE / 4);
        put(store.as_ref(), "b", "1").unwrap();
        assert!(!late.is_finished(), "the first call is not late");
        assert_eq!(late.join().unwrap().unwrap(), None);
    });
    assert_eq!(store.get("b").unwrap().unwrap().value, b"1");
}

pub fn watch_resumes_after_an_interruption<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    let proxy = Proxy::new(&servers.settings());
    let (store, other) = (servers.open(&proxy.settings()), open(&servers));
    put(store.as_ref(), "a", "").unwrap();
    let mut watch = store.watch("k");
    for (round, mode) in [Mode::Refuse, Mode::Hang].into_iter().enumerate() {
        put(other.as_ref(), "k", &format!("before {round}")).unwrap();
        next(&mut watch).unwrap();
        proxy.set(mode);
        put(other.as_ref(), "k1", "").unwrap();
        let last = other.delete_if("k1", Expected::Anything).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        proxy.set(Mode::Forward);
        loop {
            let event = next(&mut watch).unwrap();
            if (event.key.as_str(), &event.value) == ("k1", &None) {
                assert_eq!(event.revision, last);
                break;
            }
        }
    }
}

pub fn changes_that_are_not_kept_are_reported_as_lost<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    let proxy = Proxy::new(&servers.settings());
    let (store, other) = (servers.open(&proxy.settings()), open(&servers));
    put(store.as_ref(), "a", "").unwrap();
    let mut watch = store.watch("k");
    put(other.as_ref(), "k", "").unwrap();
    next(&mut watch).unwrap();
    proxy.set(Mode::Refuse);
    let mut last = 0;
    for index in 0..200 {
        last = put(other.as_ref(), &format!("k{index}"), "").unwrap();
    }
    servers.compact(last);
    proxy.set(Mode::Forward);
    while next(&mut watch) != Err(WatchError::Lagged) {}
    assert_eq!(store.list("k").unwrap().entries.len(), 201);
    let last = put(other.as_ref(), "k", "end").unwrap();
    while next(&mut watch).map(|event| event.revision) != Ok(last) {}
}

pub fn restored_snapshot_replaces_the_copy<S: Servers>(start: fn(usize) -> S) {
    let mut servers = start(1);
    let directory = TempDir::with_prefix("npt-node-").unwrap();
    let file = FileStore::open(&directory.path().join("one")).unwrap();
    let remote = open(&servers);
    let node = CompositeStore::open(file, |_| Ok(remote)).unwrap();
    put(&node, "shared/a", "1").unwrap();
    put(&node, "shared/gone", "1").unwrap();
    servers.save();
    for value in ["2", "3", "4"] {
        put(&node, "shared/a", value).unwrap();
    }
    put(&node, "shared/b", "1").unwrap();
    node.delete_if("shared/gone", Expected::Anything).unwrap();
    servers.restore();
    let value = |key: &str| node.get(key).unwrap().map(|found| found.value);
    eventually("the copy has the values of the snapshot", 40, || {
        value("shared/a") == Some(b"1".to_vec())
    });
    assert_eq!(value("shared/b"), None);
    assert_eq!(value("shared/gone"), Some(b"1".to_vec()));
    let found = node.get("shared/a").unwrap().unwrap();
    persist(10, || {
        node.put_if("shared/a", b"5", Expected::Revision(found.revision))
    });
    assert_eq!(value("shared/a"), Some(b"5".to_vec()));
}

pub fn held_key_expires_and_is_taken_over<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    let proxy = Proxy::new(&servers.settings());
    let (store, other) = (servers.open(&proxy.settings()), open(&servers));
    let key = format!("{HELD}node");
    let ttl = Duration::from_secs(10);
    let hold = store.hold(&key, b"one", ttl).unwrap();
    // Renewed: it exists for longer than its time to live.
    std::thread::sleep(Duration::from_secs(22));
    assert!(other.get(&key).unwrap().is_some());
    let mut watch = other.watch(HELD);
    proxy.set(Mode::Refuse);
    let interrupted = Instant::now();
    while next(&mut watch).is_ok_and(|event| event.value.is_some()) {}
    eprintln!("expired after {:?}", interrupted.elapsed());
    assert!(matches!(hold.state(), HoldState::Unrenewed(_)));
    let second = other.hold(&key, b"two", ttl).unwrap();
    proxy.set(Mode::Forward);
    let taken = HoldState::Taken("two".to_owned());
    eventually("the first holder notices", 20, || hold.state() == taken);
    assert_eq!(second.state(), HoldState::Held);
    let error = store.hold(&key, b"one", ttl).unwrap_err();
    assert!(matches!(error, StoreError::Held { .. }), "{error}");
}

pub fn released_key_is_free_at_once<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    let (store, other) = (open(&servers), open(&servers));
    let key = format!("{HELD}node");
    let hold = store.hold(&key, b"one", Duration::from_secs(10)).unwrap();
    let mut watch = other.watch(HELD);
    hold.release();
    eventually("it is removed", 3, || other.get(&key).unwrap().is_none());
    while next(&mut watch).is_ok_and(|event| event.value.is_some()) {}
    let again = other.hold(&key, b"two", Duration::from_secs(10)).unwrap();
    assert_eq!(again.state(), HoldState::Held);
}

pub fn newer_schema_is_refused<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    let store = open(&servers);
    put(store.as_ref(), "a", "1").unwrap();
    servers.write("netpath/schema", r#"{"schema":2,"id":"x"}"#);
    for store in [store, open(&servers)] {
        // The store that was in use finds out at its next call, and names the reason at the one after it.
        put(store.as_ref(), "a", "2").unwrap_err();
        let error = put(store.as_ref(), "a", "2").unwrap_err();
        assert!(!error.can_retry());
        let schema = RemoteProblem::Schema { found: 2, known: 1 };
        assert_eq!(problem(error), schema);
        assert_eq!(problem(store.list("").unwrap_err()), schema);
        let held = store.hold(&format!("{HELD}a"), b"a", Duration::from_secs(10));
        assert_eq!(problem(held.unwrap_err()), schema);
    }
    servers.remove("netpath/");
    servers.write("netpath/2/shared/a", "");
    let error = open(&servers).list("").unwrap_err();
    assert_eq!(problem(error), RemoteProblem::Schema { found: 2, known: 1 });
}

pub fn foreign_keys_are_refused<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    for key in [
        "netpath/config",
        "netpath/0/a",
        "netpath/1/shared/a",
        "netpath/zzz/a",
    ] {
        servers.write(key, "1");
        let error = open(&servers).list("").unwrap_err();
        assert!(!error.can_retry(), "{error}");
        assert!(
            matches!(problem(error), RemoteProblem::Foreign { .. }),
            "{key}"
        );
        servers.remove("netpath/");
    }
    servers.write("netpath/schema", "1.0");
    let error = problem(open(&servers).list("").unwrap_err());
    assert!(matches!(error, RemoteProblem::Foreign { .. }), "{error}");
    servers.remove("netpath/");
    servers.write("netpathology", "1");
    servers.write("other/a", "1");
    assert!(open(&servers).list("").unwrap().entries.is_empty());
}

pub fn emptied_store_is_refused<S: Servers>(start: fn(usize) -> S) {
    let servers = start(1);
    let store = open(&servers);
    put(store.as_ref(), "a", "1").unwrap();
    servers.remove("netpath/");
    for _ in 0..2 {
        let error = put(store.as_ref(), "a", "2").unwrap_err();
        assert_eq!(problem(error), RemoteProblem::Replaced);
        let error = store.list("").unwrap_err();
        assert_eq!(problem(error), RemoteProblem::Replaced);
    }
    // A node that has not used it before.
    put(open(&servers).as_ref(), "b", "1").unwrap();
    assert_eq!(
        problem(store.list("").unwrap_err()),
        RemoteProblem::Replaced
    );
}

pub fn node_serves_its_copy_while_the_store_is_away<S: Servers>(start: fn(usize) -> S) {
    let mut servers = start(1);
    let directory = TempDir::with_prefix("npt-node-").unwrap();
    let node = |servers: &S, name: &str| {
        let file = FileStore::open(&directory.path().join(name)).unwrap();
        let remote = open(servers);
        CompositeStore::open(file, |_| Ok(remote)).unwrap()
    };
    let (one, two) = (node(&servers, "one"), node(&servers, "two"));
    put(&one, "shared/a", "1").unwrap();
    put(&two, "shared/b", "1").unwrap();
    eventually("both have both", 10, || {
        [&one, &two]
            .iter()
            .all(|node| node.list("shared/").unwrap().entries.len() == 2)
    });
    servers.kill(0);
    eventually("it is reported", 10, || one.unreachable().is_some());
    let start = Instant::now();
    let error = put(&one, "shared/a", "2").unwrap_err();
    assert!(
        error.can_retry() && matches!(error, StoreError::Away { .. }),
        "{error}"
    );
    put(&one, "local/a", "1").unwrap();
    assert_eq!(one.list("").unwrap().entries.len(), 3);
    assert!(start.elapsed() < Duration::from_secs(1));
    drop(one);
    let one = node(&servers, "one");
    assert_eq!(one.list("").unwrap().entries.len(), 3);
    servers.resume(0);
    servers.wait();
    persist(30, || put(&two, "shared/a", "3"));
    eventually("the other node has it", 10, || {
        one.get("shared/a").unwrap().unwrap().value == b"3"
    });
    eventually("nothing is reported", 10, || one.unreachable().is_none());
}

pub fn concurrent_writers_lose_no_update<S: Servers>(start: fn(usize) -> S) {
    const NODES: usize = 4;
    const ROUNDS: usize = 25;
    let servers = start(1);
    let stores: Vec<_> = (0..NODES).map(|_| open(&servers)).collect();
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for (index, store) in stores.iter().enumerate() {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    // A key of its own, and one that all write.
                    put(store.as_ref(), &format!("own/{index}/{round}"), "").unwrap();
                    loop {
                        let found = store.get("count").unwrap();
                        let count: usize = found.as_ref().map_or(0, |found| {
                            String::from_utf8_lossy(&found.value).parse().unwrap()
                        });
                        let expected = found.map_or(Expected::Nothing, |found| {
                            Expected::Revision(found.revision)
                        });
                        let value = (count + 1).to_string();
                        match store.put_if("count", value.as_bytes(), expected) {
                            Ok(_) => break,
                            Err(StoreError::Conflict { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            });
        }
    });
    eprintln!("{} commits in {:?}", NODES * ROUNDS * 2, begin.elapsed());
    let count = stores[0].get("count").unwrap().unwrap();
    assert_eq!(count.value, (NODES * ROUNDS).to_string().into_bytes());
    assert_eq!(
        stores[0].list("own/").unwrap().entries.len(),
        NODES * ROUNDS
    );
}
