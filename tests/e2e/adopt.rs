//! A bridge and veth pairs that another program has created: netpath uses them and never changes them.

use std::{
    io::{Read, Write},
    os::unix::net::UnixStream,
    time::Duration,
};

use netpath_tests::{
    Netns,
    fixture::{Fixture, HOST, OUTSIDE},
    peer::{self, Request, SocketType},
};
use serde_json::{Value, json};

/// The foreign bridge.
const BRIDGE: &str = "br-foreign";
/// Addresses of the bridge.
const GATEWAY: [&str; 2] = ["10.77.0.1", "fd00:77::1"];

/// A namespace of another program, connected to the foreign bridge.
struct Container {
    netns: Netns,
    veth: &'static str,
    mac: &'static str,
    addresses: [&'static str; 2],
}

/// One request of the HTTP API.
#[track_caller]
fn request(fixture: &Fixture, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut stream = UnixStream::connect(fixture.daemon.socket()).expect("the API's socket");
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .expect("timeout");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n");
    write!(stream, "{head}content-length: {length}\r\n\r\n{body}").expect("request");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("response");
    let status = response.split(' ').nth(1).expect("status");
    let (_, body) = response.split_once("\r\n\r\n").expect("body");
    let status = status.parse().expect("status");
    (status, serde_json::from_str(body).unwrap_or(Value::Null))
}

/// A request that must succeed.
#[track_caller]
fn succeed(fixture: &Fixture, method: &str, path: &str, body: &Value) -> Value {
    let (status, response) = request(fixture, method, path, body);
    assert!(
        (200..300).contains(&status),
        "{method} {path}: {status} {response}"
    );
    response
}

fn foreign_bridge(host: &Netns) {
    host.exec(&format!("ip link add {BRIDGE} type bridge"));
    host.sysctl("net/ipv6/conf/br-foreign/accept_dad", "0");
    host.exec(&format!("ip addr add {}/24 dev {BRIDGE}", GATEWAY[0]));
    host.exec(&format!("ip addr add {}/64 dev {BRIDGE} nodad", GATEWAY[1]));
    host.exec(&format!("ip link set {BRIDGE} up"));
}

fn container(
    host: &Netns,
    veth: &'static str,
    mac: &'static str,
    addresses: [&'static str; 2],
) -> Container {
    let netns = Netns::new(veth);
    let path = netns.path();
    let path = path.display();
    host.exec(&format!(
        "ip link add {veth} type veth peer name eth0 address {mac} netns {path}"
    ));
    host.sysctl(&format!("net/ipv6/conf/{veth}/accept_dad"), "0");
    netns.sysctl("net/ipv6/conf/eth0/accept_dad", "0");
    host.exec(&format!("ip link set {veth} master {BRIDGE} up"));
    netns.exec(&format!("ip addr add {}/24 dev eth0", addresses[0]));
    netns.exec(&format!("ip addr add {}/64 dev eth0 nodad", addresses[1]));
    netns.exec("ip link set eth0 up");
    netns.exec(&format!("ip route add default via {}", GATEWAY[0]));
    netns.exec(&format!("ip -6 route add default via {}", GATEWAY[1]));
    Container {
        netns,
        veth,
        mac,
        addresses,
    }
}

/// Everything of the foreign devices that netpath could change: links, addresses, sysctls, programs.
fn foreign_state(host: &Netns, containers: &[&Container]) -> String {
    let mut text = String::new();
    for device in containers
        .iter()
        .map(|container| container.veth)
        .chain([BRIDGE])
    {
        text += &host.exec(&format!("ip -d link show dev {device}"));
        text += &host.exec(&format!("ip addr show dev {device}"));
        text += &host.exec(&format!("tc qdisc show dev {device}"));
        for family in ["ipv4", "ipv6"] {
            for key in ["forwarding", "disable_ipv6", "accept_ra", "rp_filter"] {
                let path = format!("/proc/sys/net/{family}/conf/{device}/{key}");
                let value = host.run(&["sh", "-c", &format!("cat {path} 2>&1 || true")]);
                text += &value.success();
            }
        }
    }
    for container in containers {
        text += &container.netns.exec("ip -d addr show dev eth0");
        text += &container.netns.exec("ip route show table all");
    }
    without_timers(&text)
}

/// The text without the values of timers of bridges.
fn without_timers(text: &str) -> String {
    let mut words = Vec::new();
    let mut after_timer = false;
    for word in text.split_whitespace() {
        if !after_timer {
            words.push(word);
        }
        after_timer = word.ends_with("_timer");
    }
    words.join(" ")
}

/// Makes an endpoint over a container's veth pair and a sandbox over its namespace, and joins them.
fn adopt(fixture: &Fixture, name: &str, container: &Container) -> String {
    let body = json!({
        "network": "foreign",
        "ips": container.addresses,
        "mac": container.mac,
        "host_interface": container.veth,
    });
    let endpoint = succeed(fixture, "POST", "/v1/endpoints?owner=docker", &body);
    assert_eq!(endpoint["sandbox"], Value::Null, "{endpoint}");
    assert_eq!(endpoint["host_interface"], container.veth, "{endpoint}");
    assert_eq!(endpoint["adopted"], true, "{endpoint}");
    let id = endpoint["id"].as_str().expect("id").to_owned();
    let body = json!({ "name": name, "netns": container.netns.path(), "unconnected": true });
    succeed(fixture, "POST", "/v1/sandboxes?owner=docker", &body);
    let path = format!("/v1/endpoints/{id}/join?owner=docker");
    let joined = succeed(fixture, "POST", &path, &json!({ "sandbox": name }));
    assert_eq!(joined["sandbox"], name, "{joined}");
    id
}

#[test]
fn foreign_bridge_and_veths_are_used_and_stay_unchanged() {
    let fixture = Fixture::new();
    let host = fixture.host();
    foreign_bridge(host);
    host.sysctl("net/ipv4/conf/br-foreign/forwarding", "0");
    host.sysctl("net/ipv6/conf/br-foreign/forwarding", "1");
    let one = container(
        host,
        "vforeign1",
        "02:00:5e:00:53:01",
        ["10.77.0.2", "fd00:77::2"],
    );
    let two = container(
        host,
        "vforeign2",
        "02:00:5e:00:53:02",
        ["10.77.0.3", "fd00:77::3"],
    );

    let body = json!({ "name": "foreign", "adopt": BRIDGE });
    let (status, refused) = request(&fixture, "POST", "/v1/networks", &body);
    assert_eq!(status, 409, "{refused}");
    let hint = refused["error"]["hint"].as_str().expect("hint");
    assert!(
        hint.contains("sysctl -w net.ipv4.conf.br-foreign.forwarding=1"),
        "{hint}"
    );
    host.sysctl("net/ipv4/conf/br-foreign/forwarding", "1");
    let before = foreign_state(host, &[&one, &two]);

    let network = succeed(&fixture, "POST", "/v1/networks?owner=docker", &body);
    assert_eq!(network["subnets"], json!(["10.77.0.0/24", "fd00:77::/64"]));
    assert_eq!(network["gateways"], json!(GATEWAY));
    assert_eq!(network["adopted"], BRIDGE);
    assert_eq!(network["owner"], "docker");
    let id = adopt(&fixture, "one", &one);
    adopt(&fixture, "two", &two);
    let body = json!({ "sandbox": "one", "publish": ["8080:80", "8080:80/udp"] });
    succeed(&fixture, "POST", "/v1/ports?owner=docker", &body);

    // A published port, the other container, and external access.
    let _server = peer::serve(&one.netns, "one", &["80"]);
    let _outside = peer::serve(fixture.outside(), "outside", &["7000"]);
    peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    peer::send_requests(&two.netns, &peer::tcp_and_udp_requests(one.addresses, 80));
    for (address, source) in [(OUTSIDE.0, HOST.0), (OUTSIDE.1, HOST.1)] {
        for socket_type in SocketType::ALL {
            let reply = peer::send_request(&one.netns, &Request::new(socket_type, address, 7000));
            assert_eq!(reply.peer, source, "masquerade of {address}");
        }
    }
    let counted = fixture.flows(&["--sandbox", "one"]);
    assert!(
        counted.iter().any(|flow| flow["kind"] == "dnat"),
        "{counted:?}"
    );
    assert!(
        counted.iter().any(|flow| flow["kind"] == "snat"),
        "{counted:?}"
    );

    // Only the owner changes its objects.
    let listed = fixture.daemon.cli(&["sandbox", "ls"]).success();
    assert!(listed.contains("docker"), "{listed}");
    let (status, refused) = request(&fixture, "DELETE", "/v1/sandboxes/one", &Value::Null);
    assert_eq!(status, 409, "{refused}");
    let refused = fixture.daemon.cli(&["network", "rm", "foreign"]);
    assert_eq!(refused.status, Some(1));
    assert!(
        refused.stderr.contains("belongs to docker"),
        "{}",
        refused.stderr
    );

    // The endpoint leaves the sandbox, joins it a second time, and is removed.
    let leave = format!("/v1/endpoints/{id}/leave?owner=docker");
    succeed(&fixture, "POST", &leave, &Value::Null);
    peer::assert_no_reply(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    let join = format!("/v1/endpoints/{id}/join?owner=docker");
    succeed(&fixture, "POST", &join, &json!({ "sandbox": "one" }));
    peer::send_requests(
        fixture.outside(),
        &peer::tcp_and_udp_requests([HOST.0, HOST.1], 8080),
    );
    succeed(
        &fixture,
        "DELETE",
        "/v1/sandboxes/one?owner=docker",
        &Value::Null,
    );
    fixture
        .daemon
        .cli(&["sandbox", "rm", "--force", "two"])
        .success();
    let left = succeed(&fixture, "GET", "/v1/endpoints", &Value::Null);
    assert_eq!(left, json!([]));
    fixture
        .daemon
        .cli(&["network", "rm", "--force", "foreign"])
        .success();
    assert_eq!(foreign_state(host, &[&one, &two]), before);
}
