//! Requests of other HTTP clients.

use std::{path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
};

use super::{Running, fake};
use crate::frontend::http::v1;

/// Status and body of the response to a request.
async fn send_request(socket: &Path, method: &str, target: &str, body: &str) -> (u16, Value) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    // The server may respond and close the connection before it has read the whole request.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut response = Vec::new();
    let _ = stream.read_to_end(&mut response).await;
    let response = String::from_utf8(response).unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = match body {
        "" => Value::Null,
        body => serde_json::from_str(body).unwrap(),
    };
    (status, body)
}

/// A connection with an incomplete request is closed after a time limit, so that connections remain available.
#[tokio::test]
async fn incomplete_requests_end_after_a_time_limit() {
    let running = Running::start();
    let mut streams = Vec::new();
    for text in [
        "",
        "GET /v1/status HTTP/1.1\r\nhost",
        "POST /v1/networks HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{",
    ] {
        for _ in 0..400 {
            let mut stream = UnixStream::connect(running.socket()).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            streams.push(stream);
        }
    }
    let ended = async {
        for stream in &mut streams {
            let mut response = Vec::new();
            let _ = stream.read_to_end(&mut response).await;
        }
    };
    let limit = Duration::from_secs(60);
    tokio::time::timeout(limit, ended).await.unwrap();
    running.client().status().await.unwrap();
}

#[tokio::test]
async fn networks_have_the_fields_of_the_contract() {
    let running = Running::start();
    let created = send_request(running.socket(), "POST", "/v1/networks", r#"{"name":"a"}"#).await;
    assert_eq!(created.0, 201);
    let (status, body) = send_request(running.socket(), "GET", "/v1/networks/a", "").await;
    assert_eq!(status, 200);
    assert_eq!(
        body,
        json!({
            "name": "a", "id": "0123456789ab", "driver": "bridge", "scope": "local",
            "subnets": ["172.17.0.0/24"], "gateways": ["172.17.0.1"], "mtu": 1500, "vni": null, "encap": null,
            "internal": false, "icc": true, "masquerade": true, "gateway_mode": "nat",
            "owner": "netpath", "adopted": null, "sandboxes": ["web"], "labels": {"tier": "front"},
        })
    );
    let gone = send_request(running.socket(), "DELETE", "/v1/networks/a", "").await;
    assert_eq!(gone, (204, Value::Null));
}

#[tokio::test]
async fn sandboxes_and_ports_have_the_fields_of_the_contract() {
    let running = Running::start();
    let (status, body) = send_request(
        running.socket(),
        "POST",
        "/v1/sandboxes",
        r#"{"name":"web"}"#,
    )
    .await;
    let port = json!({
        "sandbox": "web", "network": "bridge", "protocol": "tcp", "host_ip": null,
        "families": ["ipv4"], "host_port": 8080,
        "host_port_end": 8081, "container_ip": "172.17.0.2", "container_port": 80,
        "container_port_end": 81, "allow": ["10.0.0.0/8"], "owner": "netpath",
    });
    assert_eq!(status, 201);
    assert_eq!(
        body,
        json!({
            "name": "web", "id": "aaaaaaaaaaaa", "netns": "/proc/self/ns/net",
            "network_mode": "network", "hostname": "web", "forwarding": false, "owner": "docker", "state": "running", "pid": 7, "started_pid": 7,
            "endpoints": [{
                "id": "bbbbbbbbbbbb", "network": "bridge", "sandbox": "web", "owner": "netpath",
                "interface": "eth0", "host_interface": "npv-bbbbbbbbbb", "adopted": false, "mac": "02:00:5e:00:53:01",
                "addresses": ["172.17.0.2/24"], "gateways": ["172.17.0.1"], "mtu": 1500, "rate": 10_000_000,
            }],
            "ports": [port],
        })
    );
    let (status, body) = send_request(running.socket(), "GET", "/v1/ports?sandbox=web", "").await;
    assert_eq!((status, body), (200, json!([port])));
}

#[tokio::test]
async fn endpoints_are_created_joined_and_removed_by_their_caller() {
    let running = Running::start();
    let endpoint = "/v1/endpoints/bbbbbbbbbbbb";
    let requests = [
        (
            "POST",
            "/v1/endpoints?owner=cni".to_owned(),
            r#"{"network":"bridge"}"#,
            201,
        ),
        (
            "POST",
            format!("{endpoint}/join?owner=docker"),
            r#"{"sandbox":"web"}"#,
            200,
        ),
        ("POST", format!("{endpoint}/leave?force=true"), "", 200),
        (
            "DELETE",
            format!("{endpoint}?owner=podman&force=true"),
            "",
            204,
        ),
        ("DELETE", format!("{endpoint}?owner=nobody"), "", 400),
        ("DELETE", format!("{endpoint}?colour=red"), "", 400),
    ];
    for (method, target, body, expected) in requests {
        let (status, response) = send_request(running.socket(), method, &target, body).await;
        assert_eq!(status, expected, "{method} {target}: {response}");
    }
    let callers = [
        "Cni, force: false",
        "Docker, force: false",
        "Netpath, force: true",
        "Podman, force: true",
    ];
    let requests = running.fake.state().requests.clone();
    assert_eq!(requests.len(), callers.len(), "{requests:?}");
    for (request, caller) in requests.iter().zip(callers) {
        assert!(request.contains(caller), "{request}");
    }
}

#[test]
fn flows_have_the_fields_of_the_contract() {
    let tuple = |source: &str, source_port, destination: &str, destination_port| v1::Tuple {
        source: source.parse().unwrap(),
        source_port,
        destination: destination.parse().unwrap(),
        destination_port,
    };
    let flow = v1::NatFlow {
        protocol: v1::FlowProtocol::Icmpv6,
        kind: v1::FlowKind::Snat,
        state: "new".to_owned(),
        original: tuple("fd00::2", 7, "2001:db8::1", 0),
        reply: tuple("2001:db8::1", 0, "2001:db8::2", 9),
        sandbox: Some("web".to_owned()),
        network: None,
        packets: [1, 2],
        bytes: [3, 4],
        age_s: 5,
        expires_s: 6,
    };
    assert_eq!(
        serde_json::to_value(flow).unwrap(),
        json!({
            "protocol": "icmpv6", "kind": "snat", "state": "new",
            "original": {"source": "fd00::2", "source_port": 7,
                         "destination": "2001:db8::1", "destination_port": 0},
            "reply": {"source": "2001:db8::1", "source_port": 0,
                      "destination": "2001:db8::2", "destination_port": 9},
            "sandbox": "web", "network": null, "packets": [1, 2], "bytes": [3, 4],
            "age_s": 5, "expires_s": 6,
        })
    );
}

#[tokio::test]
async fn errors_have_the_same_form() {
    let running = Running::start();
    let too_large = format!(r#"{{"name":"{}"}}"#, "x".repeat(17 << 20));
    let cases = [
        ("GET", "/v1/networks/zzz", "", 404, "not_found"),
        ("GET", "/v1/nothing", "", 404, "not_found"),
        ("GET", "/", "", 404, "not_found"),
        ("PUT", "/v1/networks", "", 405, "invalid"),
        ("POST", "/v1/networks", "", 400, "invalid"),
        ("POST", "/v1/networks", "{", 400, "invalid"),
        ("POST", "/v1/networks", "{}", 400, "invalid"),
        (
            "POST",
            "/v1/networks",
            r#"{"name":"a","colour":"red"}"#,
            400,
            "invalid",
        ),
        (
            "POST",
            "/v1/networks",
            r#"{"name":"a","subnets":["x"]}"#,
            400,
            "invalid",
        ),
        ("POST", "/v1/networks", &too_large, 400, "invalid"),
        ("GET", "/v1/ports?colour=red", "", 400, "invalid"),
        ("DELETE", "/v1/ports", "", 400, "invalid"),
        ("DELETE", "/v1/ports?sandbox=a", "", 400, "invalid"),
        ("GET", "/v1/maps/natt", "", 404, "not_found"),
        ("GET", "/v1/maps/nat", "", 503, "unavailable"),
    ];
    for (method, target, body, status, code) in cases {
        let response = send_request(running.socket(), method, target, body).await;
        let what = format!("{method} {target} {:.40}: {response:?}", body);
        assert_eq!(response.0, status, "{what}");
        assert_eq!(response.1["error"]["code"], code, "{what}");
        assert!(response.1["error"]["message"].is_string(), "{what}");
        assert!(response.1["error"].get("hint").is_some(), "{what}");
    }
}

#[tokio::test]
async fn maps_are_plain_lists() {
    let running = Running::start();
    let (_, ports) = send_request(running.socket(), "GET", "/v1/maps/ports", "").await;
    assert_eq!(ports, serde_json::to_value([fake::port("web")]).unwrap());
    let (_, peers) = send_request(running.socket(), "GET", "/v1/maps/peers", "").await;
    assert_eq!(peers, json!([]));
}

#[tokio::test]
async fn unpublish_takes_a_body_or_a_query() {
    let running = Running::start();
    let body = r#"{"sandbox":"web","publish":["80","53/udp"]}"#;
    assert_eq!(
        send_request(running.socket(), "DELETE", "/v1/ports", body)
            .await
            .0,
        204
    );
    let query = "/v1/ports?sandbox=web&publish=%5B::1%5D:80:80/tcp";
    assert_eq!(
        send_request(running.socket(), "DELETE", query, "").await.0,
        204
    );
    assert_eq!(
        running.fake.state().requests,
        [
            r#"unpublish Unpublish { sandbox: "web", publish: ["80", "53/udp"] }"#,
            r#"unpublish Unpublish { sandbox: "web", publish: ["[::1]:80:80/tcp"] }"#,
        ]
    );
}

#[tokio::test]
async fn events_are_streamed_and_end_with_the_daemon() {
    let running = Running::start();
    let mut stream = UnixStream::connect(running.socket()).await.unwrap();
    stream
        .write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    while running.fake.listeners() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    running.fake.emit(crate::commands::Action::Created, "a");
    let mut lines = BufReader::new(stream).lines();
    let mut data = None;
    while data.is_none() {
        let line = lines.next_line().await.unwrap().unwrap();
        data = line.strip_prefix("data: ").map(str::to_owned);
    }
    let event: v1::Event = serde_json::from_str(&data.unwrap()).unwrap();
    assert_eq!(
        (event.action, event.name.as_str()),
        (v1::Action::Created, "a")
    );

    let stopped = tokio::time::timeout(Duration::from_secs(4), running.stop()).await;
    stopped.unwrap();
}
