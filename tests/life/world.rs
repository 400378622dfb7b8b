//! A host with a daemon, sandboxes with an echo server, and clients.
#![allow(
    dead_code,
    clippy::allow_attributes,
    reason = "two test programs share it, and neither uses all of it"
)]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{Daemon, Netns, Output, Process, Topology};
use serde_json::Value;

/// The host's address on the link to the outside.
pub(crate) const HOST: &str = "192.0.2.1";
/// The outside's address.
pub(crate) const OUTSIDE: &str = "192.0.2.2";

/// A daemon on a host, with somebody outside. The daemon goes first.
pub(crate) struct World {
    pub(crate) daemon: Daemon,
    pub(crate) topology: Topology,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with("reconcile_s = 1\n[limits]\nflows = 16384\nhalf_open = 4096\n")
    }

    pub(crate) fn with(config: &str) -> Self {
        Self::on(Topology::new(), config)
    }

    pub(crate) fn on(topology: Topology, config: &str) -> Self {
        let daemon = Daemon::builder(&topology.host).config(config).start();
        Self { daemon, topology }
    }

    /// Runs the command line; it must succeed.
    #[track_caller]
    pub(crate) fn ok(&self, line: &str) -> String {
        self.cli(line).success()
    }

    pub(crate) fn cli(&self, line: &str) -> Output {
        self.daemon.cli(&words(line))
    }

    #[track_caller]
    pub(crate) fn json(&self, line: &str) -> Value {
        self.daemon.json(&words(line))
    }

    /// A sandbox with a server on port 80 that greets with its name and the client's address and then sends every line back.
    #[track_caller]
    pub(crate) fn server(&self, name: &str, options: &str) {
        self.ok(&format!("sandbox create {name} {options}"));
        self.serve(name);
    }

    #[track_caller]
    pub(crate) fn serve(&self, name: &str) {
        serve(&self.netns(name), 80, name);
    }

    /// Path of a sandbox's namespace.
    #[track_caller]
    pub(crate) fn netns(&self, sandbox: &str) -> Netns {
        let shown = self.json(&format!("sandbox inspect {sandbox}"));
        let path = shown[0]["netns"].as_str().expect("netns");
        Netns::open(sandbox, Path::new(path), &self.topology.host)
    }

    /// The host's interface of a sandbox's first endpoint.
    #[track_caller]
    pub(crate) fn host_interface(&self, sandbox: &str) -> String {
        let shown = self.json(&format!("sandbox inspect {sandbox}"));
        let name = shown[0]["endpoints"][0]["host_interface"].as_str();
        name.expect("host interface").to_owned()
    }

    pub(crate) fn dial_from_outside(&self, port: u16) -> Result<Line, String> {
        let outside = &self.topology.outside;
        outside.enter(|| Line::dial(&format!("{HOST}:{port}")))
    }

    /// From a process of the host, whose socket the programs of its cgroup see.
    pub(crate) fn greeting_on_host(&self, ip: &str, port: u16) -> Result<String, String> {
        greeting_on(&self.topology.host, ip, port)
    }

    pub(crate) fn dial_from_sandbox(&self, sandbox: &str, address: &str) -> Result<Line, String> {
        self.netns(sandbox).enter(|| Line::dial(address))
    }

    #[track_caller]
    pub(crate) fn assert_published(&self, port: u16, name: &str) {
        let mut line = self.dial_from_outside(port).expect("from outside");
        assert_eq!(line.greeting, name, "from outside");
        line.talk();
        let greeting = self.greeting_on_host("127.0.0.1", port);
        assert_eq!(greeting.as_deref(), Ok(name), "from the host");
    }

    /// What users see; equal before and after if nothing was lost.
    #[track_caller]
    pub(crate) fn shown(&self) -> [Value; 3] {
        ["network ls", "sandbox ls", "port ls"].map(|list| self.json(list))
    }

    #[track_caller]
    pub(crate) fn sandboxes(&self) -> Vec<String> {
        let shown = self.json("sandbox ls");
        let list = shown.as_array().expect("list").iter();
        list.map(|sandbox| sandbox["name"].as_str().expect("name").to_owned())
            .collect()
    }

    /// What `status` says, ready or not.
    pub(crate) fn status(&self) -> Value {
        let said = self.cli("status --output json");
        serde_json::from_str(&said.stdout).expect("status")
    }

    /// Follows the events.
    pub(crate) fn events(&self) -> Process {
        let socket = self.daemon.socket().display().to_string();
        let mut events = self.topology.host.start(&[
            "curl",
            "-sNv",
            "--unix-socket",
            &socket,
            "http://netpath/v1/events",
        ]);
        events.wait_for_output("200 OK");
        events
    }

    /// Names of the devices of ours on the host.
    pub(crate) fn devices(&self) -> Vec<String> {
        devices(&self.topology.host)
    }
}

pub(crate) fn devices(host: &Netns) -> Vec<String> {
    let text = host.exec("ip -j link show");
    let links: Value = serde_json::from_str(&text).expect("JSON of ip");
    let names = links.as_array().expect("links").iter();
    let mut names: Vec<String> = names
        .filter_map(|link| link["ifname"].as_str())
        .filter(|name| name.starts_with("npb-") || name.starts_with("npv-"))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

pub(crate) fn greeting_on(host: &Netns, ip: &str, port: u16) -> Result<String, String> {
    let script = format!("exec 3<>/dev/tcp/{ip}/{port} && head -n 1 <&3");
    let output = host.run(&["timeout", "3", "bash", "-c", &script]);
    match output.status {
        Some(0) => Ok(output
            .stdout
            .split(' ')
            .next()
            .unwrap_or_default()
            .to_owned()),
        status => Err(format!("{status:?}: {}", output.stderr)),
    }
}

/// A connection to one of [`serve`]'s servers.
pub(crate) struct Line {
    /// Name of the server.
    pub(crate) greeting: String,
    /// This client's address as the server sees it.
    pub(crate) seen_as: String,
    stream: BufReader<TcpStream>,
    count: u32,
}

impl Line {
    /// Connects from the namespace of the calling thread.
    pub(crate) fn dial(address: &str) -> Result<Self, String> {
        let at = |step: &'static str| move |error: std::io::Error| format!("{step}: {error}");
        let address: SocketAddr = address.parse().expect("address");
        let limit = Duration::from_secs(3);
        let stream = TcpStream::connect_timeout(&address, limit).map_err(at("connect"))?;
        stream.set_read_timeout(Some(limit)).map_err(at("socket"))?;
        let mut stream = BufReader::new(stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting).map_err(at("greeting"))?;
        let (greeting, seen_as) = greeting.trim_end().split_once(' ').ok_or("greeting")?;
        Ok(Self {
            greeting: greeting.to_owned(),
            seen_as: seen_as.to_owned(),
            stream,
            count: 0,
        })
    }

    /// Sends a line and gets it back.
    #[track_caller]
    pub(crate) fn talk(&mut self) {
        self.count += 1;
        let sent = format!("line {}\n", self.count);
        let stream = self.stream.get_mut();
        stream.write_all(sent.as_bytes()).expect("write");
        let mut back = String::new();
        self.stream.read_line(&mut back).expect("answer");
        assert_eq!(back, sent);
    }
}

/// Serves in a namespace until the test ends.
#[track_caller]
pub(crate) fn serve(netns: &Netns, port: u16, greeting: &str) {
    let greeting = greeting.to_owned();
    let listener = netns.enter(|| {
        TcpListener::bind(("::", port)).or_else(|_| TcpListener::bind(("0.0.0.0", port)))
    });
    let listener = listener.expect("listen");
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let client = stream
                .peer_addr()
                .map(|address| address.ip().to_canonical());
            let client = client.map(|ip| ip.to_string()).unwrap_or_default();
            let greeting = format!(
                "{greeting} {client}
"
            );
            thread::spawn(move || {
                let Ok(reading) = stream.try_clone() else {
                    return;
                };
                let mut text = greeting;
                let mut reading = BufReader::new(reading);
                while stream.write_all(text.as_bytes()).is_ok() {
                    text.clear();
                    if !matches!(reading.read_line(&mut text), Ok(1..)) {
                        return;
                    }
                }
            });
        }
    });
}

/// Waits until something is true; panics after `seconds`.
#[track_caller]
pub(crate) fn eventually(what: &str, seconds: u64, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < Duration::from_secs(seconds),
            "not within {seconds} s: {what}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a kernel object of BPF with this number exists.
pub(crate) fn bpf_exists(host: &Netns, kind: &str, id: u64) -> bool {
    let id = id.to_string();
    host.run(&["bpftool", kind, "show", "id", &id]).status == Some(0)
}

/// Numbers of the programs and maps that a process has open, as `("prog", 7)`.
pub(crate) fn bpf_of(pid: i32) -> Vec<(&'static str, u64)> {
    let mut found = Vec::new();
    let files = std::fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("fdinfo");
    for file in files.flatten() {
        let text = std::fs::read_to_string(file.path()).unwrap_or_default();
        for (kind, field) in [("prog", "prog_id:"), ("map", "map_id:")] {
            let line = text.lines().find_map(|line| line.strip_prefix(field));
            if let Some(id) = line.and_then(|id| id.trim().parse().ok())
                && !found.contains(&(kind, id))
            {
                found.push((kind, id));
            }
        }
    }
    found
}

/// Number of the link and of its program behind a pin.
#[track_caller]
pub(crate) fn link_of(host: &Netns, pin: &Path) -> (u64, u64) {
    let pin = pin.display().to_string();
    let output = host.run(&["bpftool", "-j", "link", "show", "pinned", &pin]);
    let shown: Value = serde_json::from_str(&output.success()).expect("JSON of bpftool");
    let number = |key| shown[key].as_u64().expect("number");
    (number("id"), number("prog_id"))
}

pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_ascii_whitespace().collect()
}
