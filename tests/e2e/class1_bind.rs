//! Published ports are reserved: no process of the host can bind them.

use std::net::TcpListener;

use netpath_tests::{
    Netns,
    fixture::{Fixture, HOST, HOST_V4, NETWORK_A},
    peer::{self, Request, SocketType},
};

/// Binds a socket for each line of the input; prints `ok`, or the error number. Words of a line: tcp or udp, address, port,
/// options separated by commas.
const BIND: &str = "
import socket, sys
for line in sys.argv[1:]:
    kind, address, port, options = line.split(' ')
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    if 'address' in options: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if 'port' in options: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 'v6only' in options)
    try:
        s.bind((address, int(port)))
        if kind == 'tcp': s.listen()
        print('ok')
    except OSError as error:
        print(error.errno)
    s.close()
";

const IN_USE: &str = "98";

/// Cases: address, options, and whether the port is in use.
#[track_caller]
fn check(netns: &Netns, kind: &str, port: u16, cases: &[(&str, &str, bool)]) {
    let lines = cases
        .iter()
        .map(|(address, options, _)| format!("{kind} {address} {port} {options}"));
    let found = run(netns, BIND, lines.clone().collect());
    for ((line, result), (_, _, is_used)) in lines.zip(found).zip(cases) {
        assert_eq!(result, if *is_used { IN_USE } else { "ok" }, "{line}");
    }
}

/// The lines that a Python program prints.
#[track_caller]
fn run(netns: &Netns, program: &str, arguments: Vec<String>) -> Vec<String> {
    let count = arguments.len();
    let mut command = ["python3", "-c", program].map(str::to_owned).to_vec();
    command.extend(arguments);
    let output = netns.run(&command).success();
    let lines: Vec<_> = output.lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), count, "{output}");
    lines
}

#[test]
fn class1_published_port_cannot_be_bound() {
    let mut fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let ports = ["8080:80", "5300-5399:5300-5399/udp"];
    let web = fixture.sandbox("web", "network_a", &ports);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let everywhere = [
        ("0.0.0.0", "", true),
        ("0.0.0.0", "address", true),
        ("0.0.0.0", "port", true),
        (HOST.0, "", true),
        ("127.0.0.1", "address,port", true),
        ("127.0.0.53", "", true),
        ("::", "", true),
        ("::", "v6only", true),
        ("::ffff:127.0.0.1", "", true),
        (HOST.1, "port", true),
        ("::1", "", true),
    ];
    let elsewhere = everywhere.map(|(address, options, _)| (address, options, false));
    check(fixture.host(), "tcp", 8080, &everywhere);
    check(fixture.host(), "udp", 5350, &everywhere);
    check(fixture.host(), "udp", 8080, &elsewhere);
    check(fixture.host(), "tcp", 5350, &elsewhere);
    check(fixture.host(), "udp", 5299, &elsewhere);
    check(fixture.host(), "udp", 5400, &elsewhere);
    // Port 0 is never refused, and a group is no address of the node.
    check(fixture.host(), "tcp", 0, &elsewhere);
    check(
        fixture.host(),
        "udp",
        5350,
        &[("224.0.0.251", "address", false)],
    );
    // Sandboxes have their own ports.
    check(
        &web.netns,
        "tcp",
        8080,
        &[("0.0.0.0", "", false), ("::", "", false)],
    );

    fixture.daemon.kill9();
    check(fixture.host(), "tcp", 8080, &everywhere);
    fixture.daemon.restart();
    check(fixture.host(), "tcp", 8080, &everywhere);
    let request = Request::new(SocketType::Tcp, HOST_V4, 8080);
    assert_eq!(peer::send_request(fixture.outside(), &request).name, "web");
    fixture.cli_ok("port unpublish web 8080:80");
    check(fixture.host(), "tcp", 8080, &elsewhere);
    check(fixture.host(), "udp", 5350, &everywhere);
    fixture.cli_ok("sandbox rm web");
    check(fixture.host(), "udp", 5350, &elsewhere);
}

#[test]
fn class1_reservation_covers_the_published_addresses_only() {
    let fixture = Fixture::new();
    let host = fixture.host();
    host.exec("ip addr add 192.0.2.77/24 dev eth0");
    fixture.network("network_a", NETWORK_A, &[]);
    let exact = format!("{}:80:80", HOST.0);
    let web = ["0.0.0.0:8081:80", "[::]:8082:80", exact.as_str()];
    fixture.sandbox("web", "network_a", &web);
    check(
        host,
        "tcp",
        8081,
        &[
            ("0.0.0.0", "", true),
            ("192.0.2.77", "", true),
            ("::", "", true),
            ("::", "v6only", false),
            ("::1", "", false),
        ],
    );
    check(
        host,
        "tcp",
        8082,
        &[
            ("0.0.0.0", "", false),
            ("::", "", true),
            ("::", "v6only", true),
            (HOST.1, "", true),
        ],
    );
    check(
        host,
        "tcp",
        80,
        &[
            ("0.0.0.0", "", true),
            (HOST.0, "", true),
            ("192.0.2.77", "", false),
            ("127.0.0.1", "", false),
            ("::", "", true),
            ("::", "v6only", false),
        ],
    );
    // In gateway mode `routed`, the port is one of the sandbox's address.
    let routed = ("10.90.0.0/24", "fd00:90::/64");
    fixture.network("routed", routed, &["--gateway-mode", "routed"]);
    fixture.sandbox("direct", "routed", &["7777"]);
    check(
        host,
        "tcp",
        7777,
        &[("0.0.0.0", "", false), ("::", "", false)],
    );
}

#[test]
fn class1_socket_that_holds_a_published_port_is_reported() {
    let fixture = Fixture::with_fast_reconcile();
    fixture.network("network_a", NETWORK_A, &[]);
    fixture.sandbox("web", "network_a", &["8080:80"]);
    let reported = |fixture: &Fixture| {
        fixture.status()["degraded"]
            .to_string()
            .contains("8080/tcp")
    };
    assert!(!reported(&fixture));
    // The test itself runs outside the host's cgroup.
    let listener = fixture.host().enter(|| TcpListener::bind((HOST_V4, 8080)));
    let listener = listener.expect("bind");
    fixture.wait_for("a report of the listener", || reported(&fixture));
    let findings = fixture.cli("doctor --output json").stdout;
    assert!(findings.contains("8080/tcp"), "{findings}");
    drop(listener);
    fixture.wait_for("the end of the report", || !reported(&fixture));
}

/// Binds a socket to an address or a device and connects it, for each line of the input; prints `ok`, or the error number.
/// Words of a line: tcp or udp, address to bind or empty, device or empty, address and port to connect.
const CONNECT: &str = "
import socket, sys
for line in sys.argv[1:]:
    kind, own, device, address, port = line.split(' ')
    family = socket.AF_INET6 if ':' in address else socket.AF_INET
    s = socket.socket(family, socket.SOCK_STREAM if kind == 'tcp' else socket.SOCK_DGRAM)
    s.settimeout(3)
    if device: s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if own: s.bind((own, 0))
    try:
        s.connect((address, int(port)))
        if kind == 'udp':
            s.send(b'hello')
            s.recv(1000)
        print('ok')
    except TimeoutError:
        print('timeout')
    except OSError as error:
        print(error.errno)
    s.close()
";

#[test]
fn class5_bound_socket_connects_or_is_refused_at_once() {
    const REFUSED: &str = "111";
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let _server = peer::serve(&web.netns, "web", &["80"]);
    let bridge = fixture
        .devices()
        .into_iter()
        .find(|name| {
            let found = fixture.host().run(&["ip", "addr", "show", "dev", name]);
            found.stdout.contains("10.88.0.1/")
        })
        .expect("a bridge");
    let mut cases = Vec::new();
    for kind in ["tcp", "udp"] {
        for (host, loopback) in [(HOST.0, "127.0.0.1"), (HOST.1, "::1")] {
            for (own, device, address, expected) in [
                ("", "", loopback, "ok"),
                (host, "", host, "ok"),
                (host, "", loopback, "ok"),
                (loopback, "", loopback, REFUSED),
                (loopback, "", host, REFUSED),
                ("", "lo", loopback, REFUSED),
                ("", "lo", host, REFUSED),
                ("", "eth0", host, REFUSED),
                ("", bridge.as_str(), host, "ok"),
            ] {
                cases.push((format!("{kind} {own} {device} {address} 8080"), expected));
            }
        }
    }
    let lines = cases.iter().map(|(line, _)| line.clone()).collect();
    for ((line, expected), found) in cases.iter().zip(run(fixture.host(), CONNECT, lines)) {
        assert_eq!(found, *expected, "{line}");
    }
    fixture.assert_clean(&[&web]);
}
