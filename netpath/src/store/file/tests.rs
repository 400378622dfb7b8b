mod power_cut;

use std::{
    env,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::*;
use crate::store::Expected;

/// Set for the child of [`killed_writer_leaves_a_complete_commit`].
const WRITER: &str = "NETPATH_TEST_STORE_WRITER";

fn store_path() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("state/store");
    (directory, path)
}

/// Opens a file that is not a valid store; checks that the file is unchanged, and returns the error as one line.
fn refused(path: &Path) -> String {
    let before = fs::read(path).unwrap();
    let error = FileStore::open(path).unwrap_err();
    assert_eq!(before, fs::read(path).unwrap(), "the file is unchanged");
    let text = error.to_string();
    assert!(text.contains(&*path.to_string_lossy()), "{text}");
    assert!(!text.contains('\n'), "{text}");
    assert!(!error.can_retry());
    text
}

#[test]
fn commit_is_present_after_reopening() {
    let (_directory, path) = store_path();
    for round in 0..3_u64 {
        let store = FileStore::open(&path).unwrap();
        assert_eq!(store.list("").unwrap().revision, round);
        store.put_if("key", &[7; 5000], Expected::Anything).unwrap();
    }
    let names = fs::read_dir(path.parent().unwrap()).unwrap();
    let names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["store"]);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[test]
fn second_open_is_refused() {
    let (_directory, path) = store_path();
    let _store = FileStore::open(&path).unwrap();
    let error = FileStore::open(&path).unwrap_err();
    assert!(matches!(error, StoreError::InUse { .. }), "{error}");
    assert!(error.can_retry());
}

#[test]
fn other_file_is_refused_and_unchanged() {
    let (_directory, path) = store_path();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    for content in [
        &b""[..],
        b"x",
        b"some text that is no database\n",
        &[0; 100_000],
        &[0xff; 9000],
    ] {
        fs::write(&path, content).unwrap();
        assert!(refused(&path).contains("cannot be read"));
    }
    fs::remove_file(&path).unwrap();
    drop(Database::create(&path).unwrap());
    assert!(
        FileStore::open(&path)
            .unwrap_err()
            .to_string()
            .contains("another program")
    );
}

fn set_schema(path: &Path, schema: u64) {
    let database = Database::open(path).unwrap();
    let transaction = database.begin_write().unwrap();
    let mut meta = transaction.open_table(META).unwrap();
    meta.insert("schema", schema).unwrap();
    drop(meta);
    transaction.commit().unwrap();
}

#[test]
fn file_of_schema_2_keeps_its_entries() {
    let (_directory, path) = store_path();
    let store = FileStore::open(&path).unwrap();
    store.put_if("key", b"value", Expected::Nothing).unwrap();
    drop(store);
    set_schema(&path, 2);
    for _ in 0..2 {
        let store = FileStore::open(&path).unwrap();
        let entries = store.list("").unwrap().entries;
        drop(store);
        let database = Database::open(&path).unwrap();
        assert_eq!(schema(&path, &database).unwrap(), SCHEMA);
        let values: Vec<_> = entries.iter().map(|entry| &*entry.value).collect();
        assert_eq!(values, [b"value"]);
    }
}

#[test]
fn newer_schema_is_refused() {
    let (_directory, path) = store_path();
    drop(FileStore::open(&path).unwrap());
    set_schema(&path, SCHEMA + 1);
    let error = FileStore::open(&path).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Schema {
                found,
                known: SCHEMA,
                ..
            } if found == SCHEMA + 1
        ),
        "{error}"
    );
}

#[test]
fn damaged_file_is_refused() {
    let (_directory, path) = store_path();
    let store = FileStore::open(&path).unwrap();
    for number in 0..40 {
        let key = format!("key{number}");
        store
            .put_if(&key, &[number; 700], Expected::Anything)
            .unwrap();
    }
    let whole = store.list("").unwrap();
    drop(store);
    let good = fs::read(&path).unwrap();
    for position in (0..good.len()).step_by(1 + good.len() / 150) {
        let mut bad = good.clone();
        for byte in bad.iter_mut().skip(position).take(64) {
            *byte ^= 0x5a;
        }
        fs::write(&path, &bad).unwrap();
        match FileStore::open(&path) {
            Ok(store) => assert_eq!(store.list("").unwrap(), whole, "damage at {position}"),
            Err(error) => {
                assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
                assert!(
                    fs::read(&path).unwrap() == bad,
                    "damage at {position}: the file is unchanged"
                );
            }
        }
    }
    for length in [1, 4096, good.len() / 2, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        match FileStore::open(&path) {
            Ok(store) => assert_eq!(store.list("").unwrap(), whole, "cut at {length}"),
            Err(error) => {
                assert!(matches!(error, StoreError::Unreadable { .. }), "{error}");
                assert!(
                    fs::read(&path).unwrap() == good[..length],
                    "cut at {length}: the file is unchanged"
                );
            }
        }
    }
}

/// The child process of [`killed_writer_leaves_a_complete_commit`]. Commits pairs of keys with the same number until it
/// is killed, and prints the number of each complete commit.
#[test]
fn writes_until_killed() {
    let Some(path) = env::var_os(WRITER) else {
        return;
    };
    let store = FileStore::open(Path::new(&path)).unwrap();
    let mut number = store.list("").unwrap().revision;
    loop {
        number += 1;
        let write = |key: String| Write {
            key,
            value: Some(number.to_string().into_bytes()),
            expected: Expected::Anything,
        };
        let pair = [
            write("left".to_owned()),
            write(format!("right{}", number % 7)),
        ];
        assert_eq!(store.commit(&pair).unwrap(), number);
        println!("done {number}");
    }
}

#[test]
fn killed_writer_leaves_a_complete_commit() {
    let (_directory, path) = store_path();
    for round in 0..12_u64 {
        let mut child = Command::new(env::current_exe().unwrap())
            .args([
                "--exact",
                "store::file::tests::writes_until_killed",
                "--nocapture",
            ])
            .env(WRITER, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let number = |line: String| {
            let (_, number) = line.rsplit_once("done ")?;
            number.parse::<u64>().ok()
        };
        let first = lines.by_ref().map_while(Result::ok).find_map(number);
        std::thread::sleep(Duration::from_micros(round * 2711));
        child.kill().unwrap();
        child.wait().unwrap();
        let done = lines
            .map_while(Result::ok)
            .filter_map(number)
            .last()
            .or(first)
            .unwrap();

        let store = FileStore::open(&path).unwrap();
        let revision = store.list("").unwrap().revision;
        assert!(
            revision == done || revision == done + 1,
            "{revision} after {done}"
        );
        for key in ["left".to_owned(), format!("right{}", revision % 7)] {
            let entry = store.get(&key).unwrap().unwrap();
            assert_eq!(entry.value, revision.to_string().into_bytes());
            assert_eq!(entry.revision, revision);
        }
    }
}
