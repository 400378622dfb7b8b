//! The deny list of the node: hosts outside that sandboxes exchange no packets with.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream, UdpSocket},
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    Netns, Process,
    fixture::{
        Fixture, HOST, NETWORK_A, OUTSIDE, PUBLISHED, Sandbox, Topology, error_defect, serve_echo,
    },
    peer,
};
use serde_json::{Value, json};

const HOSTS: [&str; 2] = [HOST.0, HOST.1];

/// How long a packet may take that must not arrive.
const SILENCE: Duration = Duration::from_millis(700);

/// A node whose sandbox `web` publishes port 80 as [`PUBLISHED`], and two clients: `outside` and `neighbour`.
pub struct Node {
    pub fixture: Fixture,
    pub web: Sandbox,
    _server: Process,
}

impl Node {
    #[track_caller]
    fn new(config: &str) -> Self {
        Self::with(&[], config)
    }

    /// Starts the daemon with these arguments and this configuration.
    #[track_caller]
    pub fn with(arguments: &[&str], config: &str) -> Self {
        let topology = Topology::builder().neighbour().build();
        let fixture = Fixture::start(topology, arguments, config);
        fixture.network("network_a", NETWORK_A, &[]);
        let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
        let server = peer::serve(&web.netns, "web", &["80"]);
        Self {
            fixture,
            web,
            _server: server,
        }
    }

    pub fn neighbour(&self) -> &Netns {
        self.fixture
            .topology
            .neighbour
            .as_ref()
            .expect("a neighbour")
    }

    pub fn outside(&self) -> &Netns {
        self.fixture.outside()
    }

    /// Fails unless the outside is refused, by TCP and UDP in both families.
    #[track_caller]
    pub fn assert_denied(&self) {
        let before = self.fixture.counted("drop_denied");
        peer::assert_no_reply(
            self.outside(),
            &peer::tcp_and_udp_requests(HOSTS, PUBLISHED),
        );
        let dropped = self.fixture.counted("drop_denied") - before;
        assert!(dropped >= 4, "{dropped} packets dropped");
    }

    /// Fails unless the clients are served, by TCP and UDP in both families.
    #[track_caller]
    pub fn assert_served(&self, clients: &[&Netns]) {
        for client in clients {
            peer::send_requests(client, &peer::tcp_and_udp_requests(HOSTS, PUBLISHED));
        }
    }

    /// The deny list, without the times.
    #[track_caller]
    fn denied(&self) -> Vec<(String, bool)> {
        let list = self.fixture.json("deny ls");
        let list = list.as_array().expect("a list").iter();
        let entry = |entry: &Value| {
            let cidr = entry["cidr"].as_str().expect("a prefix").to_owned();
            (cidr, entry["expires_s"].is_u64())
        };
        list.map(entry).collect()
    }
}

fn listed(entries: &[(&str, bool)]) -> Vec<(String, bool)> {
    let entries = entries.iter();
    entries
        .map(|(cidr, expires)| ((*cidr).to_owned(), *expires))
        .collect()
}

/// Sends a line and reads one back.
fn exchange(stream: &mut TcpStream) -> std::io::Result<usize> {
    stream.write_all(b"line\n")?;
    stream.read(&mut [0; 100])
}

/// Connects to an echo server of [`serve_echo`] and reads its first line.
#[track_caller]
fn connect(from: &Netns, address: &str, port: u16) -> TcpStream {
    let address: IpAddr = address.parse().expect("an address");
    let address = SocketAddr::new(address, port);
    let stream = from.enter(|| TcpStream::connect_timeout(&address, Duration::from_secs(3)));
    let mut stream = stream.expect("a connection");
    stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
    let mut byte = [0];
    while byte != *b"\n" {
        stream.read_exact(&mut byte).expect("the first line");
    }
    stream
}

#[test]
fn class4_denied_client_is_refused_and_others_are_served() {
    let node = Node::new("");
    let _own = peer::serve(node.fixture.host(), "host", &["9000"]);
    node.assert_served(&[node.outside(), node.neighbour()]);
    let command = format!("deny add {} {}", OUTSIDE.0, OUTSIDE.1);
    assert_eq!(node.fixture.cli_ok(&command), "");
    node.assert_denied();
    node.assert_served(&[node.neighbour()]);
    // A service of the node itself.
    let own = peer::tcp_and_udp_requests(HOSTS, 9000);
    peer::send_requests(node.outside(), &own);
    let expected = [("192.0.2.2/32", false), ("2001:db8:2::2/128", false)];
    assert_eq!(node.denied(), listed(&expected));
    let entry = json!({"cidr": "192.0.2.2/32", "expires_s": null, "configured": false});
    assert_eq!(node.fixture.json("deny ls")[0], entry);
    let table = node.fixture.cli_ok("deny ls");
    assert!(
        table.contains("192.0.2.2/32") && table.contains("never"),
        "{table}"
    );
    node.fixture.cli_ok("deny rm 192.0.2.2 2001:db8:2::2/128");
    node.assert_served(&[node.outside(), node.neighbour()]);
    assert_eq!(node.denied(), []);
    node.fixture.assert_clean(&[&node.web]);
}

#[test]
fn class4_established_connection_of_a_denied_client_ends_at_once() {
    let node = Node::new("");
    node.fixture.cli_ok("port publish web 8081:81");
    serve_echo(&node.web.netns, 81, "web");
    for (host, client, prefix) in [
        (HOST.0, OUTSIDE.0, "192.0.2.2/32"),
        (HOST.1, OUTSIDE.1, "2001:db8:2::2/127"),
    ] {
        let mut denied = connect(node.outside(), host, 8081);
        let mut other = connect(node.neighbour(), host, 8081);
        for stream in [&mut denied, &mut other] {
            exchange(stream).expect("an established connection");
        }
        // For IPv6 the prefix contains the neighbour too.
        node.fixture.cli_ok(&format!("deny add {prefix}"));
        exchange(&mut denied).expect_err("the peer is denied");
        match prefix.contains(':') {
            false => drop(exchange(&mut other).expect("another peer")),
            true => drop(exchange(&mut other).expect_err("in the prefix")),
        }
        let filter = ["--address", client];
        node.fixture.wait_for("the flows are removed", || {
            node.fixture.flows(&filter).is_empty()
        });
        node.fixture.cli_ok(&format!("deny rm {prefix}"));
    }
    assert!(node.fixture.counted("drop_denied") > 0);
}

#[test]
fn class4_replies_of_a_denied_server_are_dropped() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let client = fixture.sandbox("client", "network_a", &[]);
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let any = if address.contains(':') {
            "::"
        } else {
            "0.0.0.0"
        };
        let bind = |netns: &Netns, address: &str, port: u16| {
            let address: IpAddr = address.parse().expect("an address");
            let socket = netns
                .enter(|| UdpSocket::bind((address, port)))
                .expect("a socket");
            socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
            socket
        };
        let server = bind(fixture.outside(), address, 7000);
        let socket = bind(&client.netns, any, 40_000);
        let target = SocketAddr::new(address.parse().expect("an address"), 7000);
        let mut buffer = [0; 100];
        socket.send_to(b"request", target).expect("send");
        let (_, source) = server.recv_from(&mut buffer).expect("the request");
        server.send_to(b"reply", source).expect("send");
        socket.recv_from(&mut buffer).expect("the reply");
        fixture.cli_ok(&format!("deny add {address}"));
        server.send_to(b"reply", source).expect("send");
        socket
            .recv_from(&mut buffer)
            .expect_err("the server is denied");
        socket.send_to(b"request", target).expect("send");
        server
            .recv_from(&mut buffer)
            .expect_err("nothing is sent to it");
        fixture.cli_ok(&format!("deny rm {address}"));
        socket.send_to(b"request", target).expect("send");
        server
            .recv_from(&mut buffer)
            .expect("it is no longer denied");
    }
    fixture.assert_clean(&[&client]);
}

#[test]
fn class4_denial_expires_with_and_without_the_daemon() {
    let mut node = Node::new("");
    let add = format!("deny add {} {} --for 3s", OUTSIDE.0, OUTSIDE.1);
    node.fixture.cli_ok(&add);
    node.assert_denied();
    let expires = node.fixture.json("deny ls")[0]["expires_s"].as_u64();
    assert!(matches!(expires, Some(1..=3)), "{expires:?}");
    node.fixture
        .wait_for("the entries expire", || node.denied().is_empty());
    node.assert_served(&[node.outside()]);
    let maps = node.fixture.json("map ls");
    let mut maps = maps.as_array().expect("maps").iter();
    let map = maps.find(|map| map["name"] == "denied").expect("denied");
    assert_eq!(map["entries"], 0, "{map}");

    node.fixture.cli_ok(&add);
    node.fixture.daemon.kill9();
    node.assert_denied();
    thread::sleep(Duration::from_secs(3));
    node.assert_served(&[node.outside()]);
    node.fixture.daemon.restart();
    assert_eq!(node.denied(), []);
}

#[test]
fn class4_overlapping_prefixes_are_each_effective() {
    let node = Node::new("");
    for (expiring, lasting) in [
        (
            ["192.0.2.2/32", "2001:db8:2::2/128"],
            ["192.0.2.0/24", "2001:db8::/32"],
        ),
        (
            ["192.0.2.0/24", "2001:db8::/32"],
            ["192.0.2.2/32", "2001:db8:2::2/128"],
        ),
    ] {
        node.fixture
            .cli_ok(&format!("deny add {} --for 1s", expiring.join(" ")));
        node.fixture
            .cli_ok(&format!("deny add {}", lasting.join(" ")));
        node.assert_denied();
        node.fixture
            .wait_for("the entries expire", || node.denied().len() == 2);
        node.assert_denied();
        node.fixture
            .cli_ok(&format!("deny rm {}", lasting.join(" ")));
        node.assert_served(&[node.outside()]);
    }
    // Every address, those of the node and of the sandboxes included.
    node.fixture.cli_ok("deny add 0.0.0.0/0 ::/0");
    node.assert_denied();
    let host = node.fixture.sandbox("host-client", "network_a", &[]);
    node.assert_served(&[&host.netns]);
    node.fixture.cli_ok("deny rm ::/0");
    peer::send_requests(
        node.outside(),
        &[peer::Request::new(peer::SocketType::Tcp, HOST.1, PUBLISHED)],
    );
    node.fixture.cli_ok("deny rm 0.0.0.0/0");
    node.assert_served(&[node.outside()]);
}

#[test]
fn class4_deny_list_survives_restart_and_kill() {
    let mut node = Node::new("");
    let entries = [("192.0.2.2/32", false), ("2001:db8:2::2/128", true)];
    node.fixture.cli_ok("deny add 192.0.2.2");
    node.fixture.cli_ok("deny add 2001:db8:2::2 --for 1h");
    node.fixture.daemon.restart();
    assert_eq!(node.denied(), listed(&entries));
    node.assert_denied();
    node.fixture.daemon.kill9();
    node.assert_denied();
    node.fixture.daemon.restart();
    assert_eq!(node.denied(), listed(&entries));
    let left = node.fixture.json("deny ls")[1]["expires_s"].as_u64();
    assert!(matches!(left, Some(3_000..=3_600)), "{left:?}");
    node.assert_denied();
    node.assert_served(&[node.neighbour()]);
}

#[test]
fn class4_configured_prefixes_are_denied_and_not_removed_by_commands() {
    let mut node = Node::new("[deny]\ncidrs = [\"192.0.2.2\", \"2001:db8:2::2/127\"]\n");
    node.assert_denied();
    let shown = node.fixture.json("deny ls");
    assert_eq!(shown[0]["configured"], true, "{shown}");
    for (line, words) in [
        (
            "deny rm 192.0.2.2",
            ["192.0.2.2/32", "settings file", "[deny]"],
        ),
        (
            "deny add 192.0.2.2/32",
            ["192.0.2.2/32", "settings file", "[deny]"],
        ),
    ] {
        let defect = error_defect(&node.fixture.cli(line), 1, &words);
        assert_eq!(defect, None);
    }
    node.assert_denied();
    node.fixture.cli_ok("deny add 203.0.113.0/24");
    node.fixture.daemon.restart();
    assert_eq!(node.denied().len(), 3);
    node.assert_denied();
    // Without the file.
    node.fixture.daemon.restart_with(&[]);
    assert_eq!(node.denied(), listed(&[("203.0.113.0/24", false)]));
    node.assert_served(&[node.outside()]);
}

#[test]
fn class4_invalid_requests_of_the_deny_list_are_refused() {
    let fixture = Fixture::new();
    fixture.cli_ok("deny add 203.0.113.0/24 198.51.100.1");
    for (status, line, words) in [
        (2, "deny add banana", &["banana", "203.0.113.0/24"][..]),
        (
            2,
            "deny add 203.0.113.7/24",
            &["203.0.113.7/24", "host bits", "203.0.113.0/24"],
        ),
        (2, "deny add 203.0.113.0/33", &["203.0.113.0/33"]),
        (2, "deny add", &["CIDR"]),
        (2, "deny add 198.18.0.0/15 --for never", &["never", "10m"]),
        (2, "deny add 198.18.0.0/15 --for 0", &["'0'", "10m"]),
        (
            1,
            "deny add 203.0.113.0/24",
            &["203.0.113.0/24", "already", "deny rm"],
        ),
        (
            1,
            "deny add 198.18.0.0/15 203.0.113.0/24",
            &["203.0.113.0/24"],
        ),
        (
            1,
            "deny rm 203.0.113.7",
            &["203.0.113.7/32", "not in", "203.0.113.0/24"],
        ),
        (
            1,
            "deny rm 198.51.100.1 198.18.0.0/15",
            &["198.18.0.0/15", "deny ls"],
        ),
    ] {
        assert_eq!(error_defect(&fixture.cli(line), status, words), None);
    }
    let socket = fixture.daemon.socket().display().to_string();
    for (body, status) in [
        (r#"{"cidrs":["banana"]}"#, "400"),
        (r#"{"cidrs":[]}"#, "400"),
        (r#"{"cidrs":["198.18.0.0/15"],"for_s":0}"#, "400"),
        (r#"{"cidrs":["203.0.113.0/24"]}"#, "409"),
    ] {
        let command = [
            "curl",
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "--unix-socket",
            &socket,
            "-H",
            "content-type: application/json",
            "-d",
            body,
            "http://netpath/v1/deny",
        ];
        assert_eq!(fixture.host().run(&command).success(), status, "{body}");
    }
    let shown = fixture.json("deny ls");
    assert_eq!(shown.as_array().map(Vec::len), Some(2), "{shown}");
    let config = "[deny]\ncidrs = [\n  \"203.0.113.0/24\",\n  \"203.0.113.7/24\",\n]\n";
    let path = fixture.daemon.run_dir().join("bad.toml");
    std::fs::write(&path, config).expect("a file");
    let line = format!("daemon --config {}", path.display());
    let words = ["bad.toml:2:", "203.0.113.7/24", "host bits"];
    assert_eq!(error_defect(&fixture.cli(&line), 1, &words), None);
}

/// Adding one entry to a long list must not rewrite it.
#[test]
fn class4_long_deny_list_is_loaded_and_changed_quickly() {
    let prefixes = (0..100_000_u32).map(|number| {
        let [_, a, b, c] = number.to_be_bytes();
        if number % 2 == 0 {
            format!("\"10.{a}.{b}.{c}\"")
        } else {
            format!("\"2001:db8:ff:{a:x}:{b:x}:{c:x}::/96\"")
        }
    });
    let prefixes: Vec<_> = prefixes.collect();
    let start = Instant::now();
    let node = Node::new(&format!("[deny]\ncidrs = [{}]\n", prefixes.join(",")));
    let loaded = start.elapsed();
    node.assert_served(&[node.outside()]);
    let start = Instant::now();
    node.fixture.cli_ok("deny add 192.0.2.2 2001:db8:2::2");
    let added = start.elapsed();
    node.assert_denied();
    println!(
        "loaded in {loaded:?}, changed in {added:?}, reconcile {}",
        node.fixture.status()["last_reconcile"]
    );
    let maps = node.fixture.json("map ls");
    let mut maps = maps.as_array().expect("maps").iter();
    let map = maps.find(|map| map["name"] == "denied").expect("denied");
    assert_eq!(map["entries"], 100_002, "{map}");
    let slow = netpath_tests::slowdown();
    assert!(loaded < Duration::from_secs(25) * slow, "{loaded:?}");
    assert!(added < Duration::from_secs(4) * slow, "{added:?}");
    node.fixture.cli_ok("deny rm 192.0.2.2 2001:db8:2::2");
    node.assert_served(&[node.outside()]);
}
