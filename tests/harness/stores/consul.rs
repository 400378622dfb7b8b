//! Consul.

use std::{env, fs, path::PathBuf, process::Command, sync::Arc};

use netpath::store::{ConsulStore, RemoteSettings, Revision, Store};
use tempfile::TempDir;

use super::{Certificates, Member, Servers, free_ports, settings};

/// A cluster of Consul.
#[derive(Debug)]
pub struct Consul {
    members: Vec<Option<Member>>,
    ports: Vec<Ports>,
    /// Further settings of every member, as a JSON object.
    settings: String,
    directory: TempDir,
}

/// Ports of a member.
#[derive(Clone, Copy, Debug)]
struct Ports {
    http: u16,
    serf: u16,
    server: u16,
}

impl Consul {
    /// The program that `cargo xtask test cluster` has prepared, or an installed one.
    pub fn program() -> Option<PathBuf> {
        let prepared = env::var_os("NETPATH_CONSUL").map(PathBuf::from);
        let path = prepared.unwrap_or_else(|| PathBuf::from("/usr/bin/consul"));
        path.exists().then_some(path)
    }

    /// Starts a cluster and waits until it serves.
    pub fn start(members: usize) -> Self {
        let consul = Self::start_with(members, "{}");
        consul.wait();
        consul
    }

    /// Starts one member that serves clients with certificates of the same authority only. Does not wait.
    pub fn start_tls(files: &Certificates) -> Self {
        let file = |name| files.path(name).display().to_string();
        let settings = format!(
            r#"{{"ports":{{"http":-1,"https":HTTP_PORT}},"verify_incoming_https":true,
                "ca_file":"{}","cert_file":"{}","key_file":"{}"}}"#,
            file("ca.pem"),
            file("server.pem"),
            file("server.key")
        );
        Self::start_with(1, &settings)
    }

    /// Starts one member that demands a token, and returns the token. Does not wait.
    pub fn start_with_token() -> (Self, String) {
        let token = "00000000-1111-2222-3333-444444444444";
        let settings = format!(
            r#"{{"acl":{{"enabled":true,"default_policy":"deny","tokens":{{"master":"{token}"}}}}}}"#
        );
        (Self::start_with(1, &settings), token.to_owned())
    }

    /// Starts a cluster with further settings, as a JSON object.
    fn start_with(members: usize, settings: &str) -> Self {
        let ports = free_ports(members * 3);
        let ports = ports.chunks(3).map(|ports| Ports {
            http: ports[0],
            serf: ports[1],
            server: ports[2],
        });
        let mut consul = Self {
            members: (0..members).map(|_| None).collect(),
            ports: ports.collect(),
            settings: settings.to_owned(),
            directory: TempDir::with_prefix("npt-consul-").expect("directory"),
        };
        for index in 0..members {
            consul.resume(index);
        }
        consul
    }

    /// Runs `consul` and returns its output.
    #[track_caller]
    pub fn ctl(&self, arguments: &[&str]) -> String {
        let (output, text) = self.try_ctl(arguments);
        assert!(output, "consul {arguments:?}: {text}");
        text
    }

    fn try_ctl(&self, arguments: &[&str]) -> (bool, String) {
        let index = self
            .members
            .iter()
            .position(Option::is_some)
            .expect("a member");
        let output = Command::new(Self::program().expect("Consul is installed"))
            .env(
                "CONSUL_HTTP_ADDR",
                format!("127.0.0.1:{}", self.ports[index].http),
            )
            .args(arguments)
            .output()
            .expect("consul");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }
}

impl Servers for Consul {
    fn open(&self, settings: &RemoteSettings) -> Arc<dyn Store> {
        Arc::new(ConsulStore::new(settings, None).expect("store"))
    }

    fn settings(&self) -> RemoteSettings {
        settings(self.ports.iter().map(|ports| ports.http))
    }

    fn kill(&mut self, index: usize) {
        self.members[index] = None;
    }

    fn resume(&mut self, index: usize) {
        let Ports { http, serf, server } = self.ports[index];
        let directory = self.directory.path();
        let path = directory.join(format!("m{index}.json"));
        let ports = format!(
            r#"{{"ports":{{"http":{http},"dns":-1,"grpc":-1,"serf_lan":{serf},"serf_wan":-1,"server":{server}}},
               "disable_update_check":true,"performance":{{"raft_multiplier":1}}}}"#
        );
        fs::write(&path, ports).expect("settings");
        let further = directory.join("further.json");
        let settings = self.settings.replace("HTTP_PORT", &http.to_string());
        fs::write(&further, settings).expect("settings");
        let mut command = Command::new(Self::program().expect("Consul is installed"));
        command
            .args(["agent", "-server", "-bind=127.0.0.1", "-client=127.0.0.1"])
            .arg(format!("-bootstrap-expect={}", self.ports.len()))
            .arg(format!("-node=m{index}"))
            .arg(format!(
                "-data-dir={}",
                directory.join(format!("m{index}")).display()
            ))
            .arg(format!("-config-file={}", path.display()))
            .arg(format!("-config-file={}", further.display()));
        for (other, ports) in self.ports.iter().enumerate() {
            if other != index {
                command.arg(format!("-retry-join=127.0.0.1:{}", ports.serf));
            }
        }
        command.arg("-retry-interval=1s");
        let log = directory.join(format!("m{index}.log"));
        self.members[index] = Some(Member::start(command, &log));
    }

    fn leader(&self) -> usize {
        let text = self.ctl(&["operator", "raft", "list-peers"]);
        let line = text.lines().find(|line| line.contains(" leader "));
        let name = line
            .and_then(|line| line.split_whitespace().next())
            .expect("a leader");
        name.trim_start_matches('m').parse().expect("a number")
    }

    fn write(&self, key: &str, value: &str) {
        self.ctl(&["kv", "put", key, value]);
    }

    fn remove(&self, prefix: &str) {
        self.ctl(&["kv", "delete", "-recurse", prefix]);
    }

    fn compact(&self, _: Revision) {}

    fn save(&self) {
        let path = self.directory.path().join("snapshot");
        self.ctl(&["snapshot", "save", &path.to_string_lossy()]);
    }

    fn restore(&mut self) {
        let path = self.directory.path().join("snapshot");
        self.ctl(&["snapshot", "restore", &path.to_string_lossy()]);
        self.wait();
    }
}
