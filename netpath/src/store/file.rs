//! A store in one file: a redb database.
//!
//! A commit is durable when it returns. After a crash, the store contains complete commits only. After a failed write,
//! the next operation reopens the file.
//!
//! A new file is completed under another name first, so an incomplete file is never opened as a store. The whole file
//! is checked when it is opened, so that no part of a damaged file is used; this is fast, because the file is small.
//! Files of older schemas are migrated when they are opened; files of newer schemas are refused.

mod migrate;

use std::{
    fs,
    io::{self, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redb::{
    Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition,
};

use super::{
    COPIES, Hold, Listing, Revision, Store, StoreError, Versioned, Watch, Write, check_distinct,
    hold::hold_alone, watch::Hub,
};

/// Schema of the tables and of the objects in them. A change of either increases it and adds a step to `migrate`.
const SCHEMA: u64 = 3;
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("netpath-meta");
const ENTRIES: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("netpath-entries");
/// Size of the cache in bytes. The whole store is a few megabytes at most.
const CACHE: usize = 8 << 20;

/// A store in one file. One process at a time can open it.
#[derive(Debug)]
pub struct FileStore {
    path: PathBuf,
    /// Locked during a commit, so that watches receive commits in order.
    file: Mutex<OpenFile>,
    hub: Hub,
}

/// The open database and the result of the last write.
#[derive(Debug)]
struct OpenFile {
    /// `None` after a failed write, until the file is reopened: a database refuses writes after a failed one.
    database: Option<Database>,
    /// Why the last write failed; `None` if it succeeded.
    failure: Option<String>,
}

/// Size in bytes of the test write after a failure.
const TEST_WRITE: usize = 256 << 10;

impl FileStore {
    /// Opens the store at `path`, or creates an empty one with its directory if the file does not exist. A file of an
    /// older schema is migrated.
    ///
    /// # Errors
    /// Another process has it open, it is damaged or another kind of file, a newer version wrote it, or the file system
    /// refuses. The file is not changed then.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path
            .try_exists()
            .map_err(|source| at(path, "access", source))?
        {
            create(path)?;
        }
        let database = open(path)?;
        match schema(path, &database)? {
            SCHEMA => {}
            found @ 1..SCHEMA => migrate(path, &database, found)?,
            found => {
                return Err(StoreError::Schema {
                    path: path.to_owned(),
                    found,
                    known: SCHEMA,
                });
            }
        }
        Ok(Self::on(path, database))
    }

    /// This store, for a node without a distributed store.
    ///
    /// # Errors
    /// The file was used with a distributed store, or it cannot be read.
    pub fn alone(self) -> Result<Self, StoreError> {
        match self.list(COPIES)?.entries.into_iter().next() {
            None => Ok(self),
            Some(entry) => Err(StoreError::OtherKind { key: entry.key }),
        }
    }

    fn on(path: &Path, database: Database) -> Self {
        Self {
            path: path.to_owned(),
            file: Mutex::new(OpenFile {
                database: Some(database),
                failure: None,
            }),
            hub: Hub::default(),
        }
    }

    fn failed<E: Into<redb::Error>>(&self, action: &'static str) -> impl Fn(E) -> StoreError {
        failed(&self.path, action)
    }

    fn lock(&self) -> MutexGuard<'_, OpenFile> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Executes the writes in one transaction. Returns the revision, and the writes that have an effect.
    fn write<'a>(
        &self,
        database: &Database,
        writes: &'a [Write],
    ) -> Result<(Revision, Vec<&'a Write>), StoreError> {
        // A dropped transaction is rolled back.
        let transaction = database.begin_write().map_err(self.failed("write"))?;
        let (revision, changes) = {
            let mut meta = transaction.open_table(META).map_err(self.failed("write"))?;
            let mut entries = transaction
                .open_table(ENTRIES)
                .map_err(self.failed("write"))?;
            let changes = self.changes(&entries, writes)?;
            let mut store = || -> Result<Revision, redb::Error> {
                let last = meta.get("revision")?.map_or(0, |revision| revision.value());
                if changes.is_empty() {
                    return Ok(last);
                }
                let revision = last + 1;
                meta.insert("revision", revision)?;
                for write in &changes {
                    let key = write.key.as_str();
                    match &write.value {
                        Some(value) => entries.insert(key, (revision, value.as_slice()))?,
                        None => entries.remove(key)?,
                    };
                }
                Ok(revision)
            };
            (store().map_err(self.failed("write"))?, changes)
        };
        if !changes.is_empty() {
            transaction.commit().map_err(self.failed("write"))?;
        }
        Ok((revision, changes))
    }

    /// The writes that have an effect, if every key has the expected revision.
    fn changes<'a>(
        &self,
        entries: &Table<'_, &'static str, (u64, &'static [u8])>,
        writes: &'a [Write],
    ) -> Result<Vec<&'a Write>, StoreError> {
        let mut changes = Vec::with_capacity(writes.len());
        for write in writes {
            let found = entries
                .get(write.key.as_str())
                .map_err(self.failed("read"))?;
            let found = found.map(|entry| entry.value().0);
            write.check(found)?;
            if write.value.is_some() || found.is_some() {
                changes.push(write);
            }
        }
        Ok(changes)
    }
}

impl Store for FileStore {
    fn kind(&self) -> &'static str {
        "file"
    }

    fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        let mut file = self.lock();
        let database = file.database(&self.path)?;
        let read = || -> Result<_, redb::Error> {
            let table = database.begin_read()?.open_table(ENTRIES)?;
            let found = table.get(key)?;
            Ok(found.map(|entry| versioned(key, entry.value())))
        };
        read().map_err(self.failed("read"))
    }

    fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        let mut file = self.lock();
        let database = file.database(&self.path)?;
        let read = || -> Result<_, redb::Error> {
            let transaction = database.begin_read()?;
            let revision = transaction.open_table(META)?.get("revision")?;
            let mut entries = Vec::new();
            for entry in transaction.open_table(ENTRIES)?.range(prefix..)? {
                let (key, value) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                entries.push(versioned(key.value(), value.value()));
            }
            Ok(Listing {
                revision: revision.map_or(0, |revision| revision.value()),
                entries,
            })
        };
        read().map_err(self.failed("read"))
    }

    fn commit(&self, writes: &[Write]) -> Result<Revision, StoreError> {
        check_distinct(writes)?;
        let mut file = self.lock();
        let written = file
            .database(&self.path)
            .and_then(|database| self.write(database, writes));
        match &written {
            Err(StoreError::Database { .. }) => {
                let error = written.as_ref().err().map(ToString::to_string);
                *file = OpenFile {
                    database: None,
                    failure: error,
                };
            }
            Ok(_) => file.failure = None,
            Err(_) => {}
        }
        let (revision, changes) = written?;
        for write in changes {
            self.hub.send(write, revision);
        }
        Ok(revision)
    }

    fn hold(&self, key: &str, value: &[u8], _: Duration) -> Result<Hold, StoreError> {
        hold_alone(self, key, value)
    }

    fn watch(&self, prefix: &str) -> Watch {
        self.hub.watch(prefix)
    }

    fn write_failure(&self) -> Option<String> {
        let mut file = self.lock();
        file.failure.as_ref()?;
        let tested = test_write(&self.path).and_then(|()| file.database(&self.path).map(drop));
        if tested.is_ok() {
            file.failure = None;
        }
        file.failure.clone()
    }
}

impl OpenFile {
    /// The database. The file is reopened if the last write failed.
    fn database(&mut self, path: &Path) -> Result<&Database, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => open(path)?,
        };
        Ok(self.database.insert(database))
    }
}

/// Writes and removes a file in the directory of the store.
fn test_write(path: &Path) -> Result<(), StoreError> {
    let mut file = path.as_os_str().to_owned();
    file.push(".test");
    let file = PathBuf::from(file);
    let written = fs::write(&file, vec![1; TEST_WRITE])
        .and_then(|()| fs::File::open(&file)?.sync_all())
        .map_err(|source| at(&file, "write", source));
    written.and(remove_if_exists(&file))
}

/// Creates an empty store: first under another name, then linked to `path`.
fn create(path: &Path) -> Result<(), StoreError> {
    let directory = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(directory).map_err(|source| at(directory, "create directory", source))?;
    let mut draft = path.as_os_str().to_owned();
    draft.push(format!(".new-{}", std::process::id()));
    let draft = PathBuf::from(draft);
    remove_if_exists(&draft)?;
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    options
        .open(&draft)
        .map_err(|source| at(&draft, "create", source))?;
    let made = initialise(&draft).and_then(|()| {
        // Unlike a rename, a link does not replace a store that another process has created in the meantime.
        match fs::hard_link(&draft, path) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                Err(at(path, "create", error))
            }
            _ => fs::File::open(directory)
                .and_then(|directory| directory.sync_all())
                .map_err(|source| at(directory, "write", source)),
        }
    });
    made.and(remove_if_exists(&draft))
}

fn initialise(path: &Path) -> Result<(), StoreError> {
    let database = Database::builder().set_cache_size(CACHE).create(path);
    let made = database
        .map_err(redb::Error::from)
        .and_then(|database| fill(&database));
    made.map_err(failed(path, "create"))
}

/// Writes the tables of an empty store.
fn fill(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert("schema", SCHEMA)?;
    transaction.open_table(ENTRIES)?;
    Ok(transaction.commit()?)
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let opened = Database::builder()
        .set_cache_size(CACHE)
        .set_check_integrity_on_open(true)
        .open(path);
    opened.map_err(|error| {
        let reason = match error {
            DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
                return StoreError::InUse {
                    path: path.to_owned(),
                };
            }
            DatabaseError::Storage(StorageError::Io(error))
                if error.kind() != ErrorKind::InvalidData
                    && error.kind() != ErrorKind::UnexpectedEof =>
            {
                return at(path, "open", error);
            }
            other => other.to_string(),
        };
        StoreError::Unreadable {
            path: path.to_owned(),
            reason: one_line(&reason),
        }
    })
}

/// Rewrites a file of an older schema in one transaction.
fn migrate(path: &Path, database: &Database, schema: u64) -> Result<(), StoreError> {
    let failed = failed::<redb::Error>(path, "migrate");
    let read = || -> Result<migrate::Entries, redb::Error> {
        let table = database.begin_read()?.open_table(ENTRIES)?;
        let entries = table.iter()?.map(|entry| {
            let (key, value) = entry?;
            Ok((key.value().to_owned(), value.value().1.to_vec()))
        });
        entries.collect()
    };
    let entries = migrate::to_current(schema, read().map_err(&failed)?);
    let entries = entries.map_err(|key| StoreError::Unreadable {
        path: path.to_owned(),
        reason: format!("key '{key}' is not of schema {schema}"),
    })?;
    let replace = || -> Result<(), redb::Error> {
        let transaction = database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            let last = meta.get("revision")?.map_or(0, |revision| revision.value());
            meta.insert("revision", last + 1)?;
            meta.insert("schema", SCHEMA)?;
            let mut table = transaction.open_table(ENTRIES)?;
            table.retain(|_, _| false)?;
            for (key, value) in &entries {
                table.insert(key.as_str(), (last + 1, value.as_slice()))?;
            }
        }
        Ok(transaction.commit()?)
    };
    replace().map_err(&failed)
}

/// The schema of a file.
fn schema(path: &Path, database: &Database) -> Result<u64, StoreError> {
    let read = || -> Result<Option<u64>, redb::Error> {
        let table = database.begin_read()?.open_table(META)?;
        let schema = table.get("schema")?;
        Ok(schema.map(|schema| schema.value()))
    };
    match read() {
        Ok(Some(schema)) => Ok(schema),
        Ok(None) | Err(redb::Error::TableDoesNotExist(_)) => Err(StoreError::Unreadable {
            path: path.to_owned(),
            reason: "it is a database of another program".to_owned(),
        }),
        Err(error) => Err(failed(path, "read")(error)),
    }
}

fn versioned(key: &str, (revision, value): (u64, &[u8])) -> Versioned {
    Versioned {
        key: key.to_owned(),
        value: value.to_owned(),
        revision,
    }
}

fn remove_if_exists(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(at(path, "remove", error)),
        _ => Ok(()),
    }
}

fn at(path: &Path, action: &'static str, source: io::Error) -> StoreError {
    StoreError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn failed<E: Into<redb::Error>>(path: &Path, action: &'static str) -> impl Fn(E) -> StoreError {
    let path = path.to_owned();
    move |error| StoreError::Database {
        action,
        path: path.clone(),
        source: Box::new(error.into()),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests;
