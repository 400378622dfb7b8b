//! Servers of distributed stores on loopback ports, with their data in temporary directories.

mod certificates;
mod consul;
mod etcd;
mod proxy;

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
};

use netpath::store::{RemoteSettings, Revision, Server, Store, StoreError};

pub use certificates::Certificates;
pub use consul::Consul;
pub use etcd::Etcd;
pub use proxy::{LATE, Mode, Proxy};

/// A cluster of servers of one kind.
pub trait Servers {
    /// Opens the store with settings.
    fn open(&self, settings: &RemoteSettings) -> Arc<dyn Store>;

    /// Settings for all members.
    fn settings(&self) -> RemoteSettings;

    /// Kills a member.
    fn kill(&mut self, index: usize);

    /// Starts a member, with the data that it had.
    fn resume(&mut self, index: usize);

    /// Index of the leader.
    fn leader(&self) -> usize;

    /// Writes a key as another program does.
    fn write(&self, key: &str, value: &str);

    /// Removes all keys with a prefix as another program does.
    fn remove(&self, prefix: &str);

    /// Makes the store forget changes up to a revision, if it remembers them by revision.
    fn compact(&self, revision: Revision);

    /// Saves a snapshot.
    fn save(&self);

    /// Restores the snapshot that was saved last, on a cluster of one member.
    fn restore(&mut self);

    /// Waits until the cluster serves.
    #[track_caller]
    fn wait(&self) {
        let store = self.open(&self.settings());
        crate::eventually("the store serves", 30, || match store.list("") {
            Err(StoreError::Remote(error)) => !error.can_retry(),
            _ => true,
        });
    }
}

/// A process of a store. Dropping the guard kills it.
#[derive(Debug)]
struct Member {
    child: Child,
    log: PathBuf,
}

impl Member {
    fn start(mut command: Command, log: &Path) -> Self {
        let output = || {
            let file = File::options().append(true).create(true).open(log);
            Stdio::from(file.expect("log file"))
        };
        let child = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self {
            child,
            log: log.to_owned(),
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Fails if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(40).collect();
            for line in lines.into_iter().rev() {
                eprintln!("{}: {line}", self.log.display());
            }
        }
    }
}

/// Ports of the loopback address that no socket uses.
fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    // Bound at the same time, so that they differ.
    let listeners: Vec<_> = (0..count).map(bind).collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("address").port();
    listeners.iter().map(port).collect()
}

/// Settings for servers on these ports of the loopback address, without TLS and token.
fn settings(ports: impl IntoIterator<Item = u16>) -> RemoteSettings {
    let server = |port| Server {
        host: "127.0.0.1".to_owned(),
        port,
    };
    RemoteSettings {
        servers: ports.into_iter().map(server).collect(),
        ..RemoteSettings::default()
    }
}
