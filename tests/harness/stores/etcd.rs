//! etcd.

use std::{fs, path::PathBuf, process::Command, sync::Arc};

use netpath::store::{EtcdStore, RemoteSettings, Revision, Store};
use tempfile::TempDir;

use super::{Certificates, Member, Servers, free_ports, settings};

/// A cluster of etcd.
#[derive(Debug)]
pub struct Etcd {
    members: Vec<Option<Member>>,
    /// Ports for clients and for the other members.
    ports: Vec<(u16, u16)>,
    /// Further arguments of every member.
    arguments: Vec<String>,
    scheme: &'static str,
    directory: TempDir,
}

impl Etcd {
    /// The program, if it is installed.
    pub fn program() -> Option<PathBuf> {
        let path = PathBuf::from("/usr/bin/etcd");
        path.exists().then_some(path)
    }

    /// Starts a cluster and waits until it serves.
    pub fn start(members: usize, arguments: &[&str]) -> Self {
        Self::start_with("http", members, arguments)
    }

    /// Starts one member that serves clients with certificates of the same authority only. Does not wait.
    pub fn start_tls(files: &Certificates) -> Self {
        let file = |flag: &str, name: &str| format!("--{flag}={}", files.path(name).display());
        let arguments = [
            file("cert-file", "server.pem"),
            file("key-file", "server.key"),
            file("trusted-ca-file", "ca.pem"),
            "--client-cert-auth".to_owned(),
        ];
        Self::start_with("https", 1, &arguments.each_ref().map(String::as_str))
    }

    /// Starts one member with authentication. Returns user and password as in a token file.
    pub fn start_with_users() -> (Self, String) {
        let etcd = Self::start(1, &[]);
        etcd.ctl(&["user", "add", "root:secret:word"]);
        etcd.ctl(&["user", "grant-role", "root", "root"]);
        etcd.ctl(&["auth", "enable"]);
        (etcd, "root:secret:word".to_owned())
    }

    fn start_with(scheme: &'static str, members: usize, arguments: &[&str]) -> Self {
        let ports = free_ports(members * 2);
        let mut etcd = Self {
            members: (0..members).map(|_| None).collect(),
            ports: ports.chunks(2).map(|pair| (pair[0], pair[1])).collect(),
            arguments: arguments.iter().map(ToString::to_string).collect(),
            scheme,
            directory: TempDir::with_prefix("npt-etcd-").expect("directory"),
        };
        for index in 0..members {
            etcd.resume(index);
        }
        if scheme == "http" {
            etcd.wait();
        }
        etcd
    }

    /// Directory of the data of a member.
    pub fn data(&self, index: usize) -> PathBuf {
        self.directory.path().join(format!("m{index}"))
    }

    /// Runs `etcdctl` and returns its output.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let endpoints: Vec<_> = self
            .ports
            .iter()
            .map(|(port, _)| format!("{}://127.0.0.1:{port}", self.scheme))
            .collect();
        let output = Command::new("/usr/bin/etcdctl")
            .env("ETCDCTL_API", "3")
            .arg(format!("--endpoints={}", endpoints.join(",")))
            .args(arguments)
            .output()
            .expect("etcdctl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success(),
            "etcdctl {arguments:?}: {text}{}",
            String::from_utf8_lossy(&output.stderr)
        );
        text
    }
}

impl Servers for Etcd {
    fn open(&self, settings: &RemoteSettings) -> Arc<dyn Store> {
        Arc::new(EtcdStore::new(settings, None).expect("store"))
    }

    fn settings(&self) -> RemoteSettings {
        settings(self.ports.iter().map(|(port, _)| *port))
    }

    fn kill(&mut self, index: usize) {
        self.members[index] = None;
    }

    fn resume(&mut self, index: usize) {
        let url = |scheme: &str, port: u16| format!("{scheme}://127.0.0.1:{port}");
        let (client, peer) = self.ports[index];
        let cluster = self.ports.iter().enumerate();
        let cluster: Vec<_> = cluster
            .into_iter()
            .map(|(index, (_, peer))| format!("m{index}={}", url("http", *peer)))
            .collect();
        let mut command = Command::new(Self::program().expect("etcd is installed"));
        command
            .arg(format!("--name=m{index}"))
            .arg(format!("--data-dir={}", self.data(index).display()))
            .arg(format!("--listen-client-urls={}", url(self.scheme, client)))
            .arg(format!(
                "--advertise-client-urls={}",
                url(self.scheme, client)
            ))
            .arg(format!("--listen-peer-urls={}", url("http", peer)))
            .arg(format!(
                "--initial-advertise-peer-urls={}",
                url("http", peer)
            ))
            .arg(format!("--initial-cluster={}", cluster.join(",")))
            .args([
                "--heartbeat-interval=50",
                "--election-timeout=500",
                "--unsafe-no-fsync",
            ])
            .args(&self.arguments);
        let log = self.directory.path().join(format!("m{index}.log"));
        self.members[index] = Some(Member::start(command, &log));
    }

    fn leader(&self) -> usize {
        let text = self.ctl(&["endpoint", "status", "--write-out=simple"]);
        // ENDPOINT, ID, VERSION, SIZE, IS LEADER, …
        let line = text
            .lines()
            .find(|line| line.split(", ").nth(4) == Some("true"))
            .expect("a leader");
        let is_in = |(port, _): &(u16, u16)| line.contains(&format!(":{port},"));
        self.ports.iter().position(is_in).expect("a member")
    }

    fn write(&self, key: &str, value: &str) {
        self.ctl(&["put", key, value]);
    }

    fn remove(&self, prefix: &str) {
        self.ctl(&["del", "--prefix", prefix]);
    }

    fn compact(&self, revision: Revision) {
        self.ctl(&["compact", &revision.to_string()]);
    }

    fn save(&self) {
        let path = self.directory.path().join("snapshot");
        self.ctl(&["snapshot", "save", &path.to_string_lossy()]);
    }

    fn restore(&mut self) {
        self.kill(0);
        fs::remove_dir_all(self.data(0)).expect("data");
        let peer = format!("http://127.0.0.1:{}", self.ports[0].1);
        self.ctl(&[
            "snapshot",
            "restore",
            &self.directory.path().join("snapshot").to_string_lossy(),
            "--name=m0",
            &format!("--data-dir={}", self.data(0).display()),
            &format!("--initial-cluster=m0={peer}"),
            &format!("--initial-advertise-peer-urls={peer}"),
        ]);
        self.resume(0);
        self.wait();
    }
}
