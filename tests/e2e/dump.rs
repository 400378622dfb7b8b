//! The output of `netpath map dump nat`.

use serde_json::{Value, json};

use netpath_tests::{
    fixture::{Fixture, HOST, OUTSIDE, Sandbox},
    peer::{self, Request, SocketType},
};

struct Service {
    fixture: Fixture,
    web: Sandbox,
    other: Sandbox,
    _servers: [netpath_tests::Process; 2],
}

fn service() -> Service {
    let fixture = Fixture::new();
    fixture.two_networks();
    let web = fixture.sandbox("web", "network_a", &["8080:80", "8080:80/udp"]);
    let other = fixture.sandbox("other", "network_b", &[]);
    let servers = [
        peer::serve(&web.netns, "web", &["80"]),
        peer::serve(fixture.outside(), "outside", &["7000"]),
    ];
    Service {
        fixture,
        web,
        other,
        _servers: servers,
    }
}

fn tuple(source: &str, source_port: u16, destination: &str, destination_port: u16) -> Value {
    json!({
        "source": source,
        "source_port": source_port,
        "destination": destination,
        "destination_port": destination_port,
    })
}

#[track_caller]
fn only(flows: &[Value]) -> &Value {
    assert_eq!(flows.len(), 1, "{flows:#?}");
    let flow = &flows[0];
    for direction in 0..2 {
        let packets = flow["packets"][direction].as_u64().expect("packets");
        let bytes = flow["bytes"][direction].as_u64().expect("bytes");
        assert!(packets > 0 && bytes >= 20 * packets, "{flow:#}");
    }
    assert!(flow["age_s"].as_u64().expect("age") < 60, "{flow:#}");
    assert!(flow["expires_s"].as_u64().is_some(), "{flow:#}");
    assert!(flow["state"].is_string(), "{flow:#}");
    flow
}

#[track_caller]
fn check(flow: &Value, kind: &str, original: &Value, reply: &Value, owner: (&str, &str)) {
    assert_eq!(flow["kind"], kind, "{flow:#}");
    assert_eq!(&flow["original"], original, "{flow:#}");
    assert_eq!(&flow["reply"], reply, "{flow:#}");
    assert_eq!(flow["sandbox"], owner.0, "{flow:#}");
    assert_eq!(flow["network"], owner.1, "{flow:#}");
}

#[test]
fn dump_shows_source_translation() {
    let service = service();
    for (family, (outside, host)) in [(OUTSIDE.0, HOST.0), (OUTSIDE.1, HOST.1)]
        .into_iter()
        .enumerate()
    {
        let own = service.other.addresses()[family];
        for (socket_type, protocol) in [(SocketType::Tcp, "tcp"), (SocketType::Udp, "udp")] {
            let request = Request::new(socket_type, outside, 7000).source_port(5000);
            let reply = peer::send_request(&service.other.netns, &request);
            let flows = service
                .fixture
                .flows(&["--protocol", protocol, "--address", outside]);
            let flow = only(&flows);
            assert_eq!(flow["protocol"], protocol);
            check(
                flow,
                "snat",
                &tuple(own, 5000, outside, 7000),
                &tuple(outside, 7000, host, reply.peer_port),
                ("other", "network_b"),
            );
        }
    }
    service.fixture.assert_clean(&[&service.other]);
}

#[test]
fn dump_shows_destination_translation() {
    let service = service();
    for (family, (outside, host)) in [(OUTSIDE.0, HOST.0), (OUTSIDE.1, HOST.1)]
        .into_iter()
        .enumerate()
    {
        let own = service.web.addresses()[family];
        for (socket_type, protocol) in [(SocketType::Tcp, "tcp"), (SocketType::Udp, "udp")] {
            let request = Request::new(socket_type, host, 8080).source_port(5000);
            peer::send_request(service.fixture.outside(), &request);
            let flows = service
                .fixture
                .flows(&["--protocol", protocol, "--address", own]);
            check(
                only(&flows),
                "dnat",
                &tuple(outside, 5000, host, 8080),
                &tuple(own, 80, outside, 5000),
                ("web", "network_a"),
            );
        }
    }
    service.fixture.assert_clean(&[&service.web]);
}

#[test]
fn dump_shows_hairpin() {
    let service = service();
    for (family, host) in [HOST.0, HOST.1].into_iter().enumerate() {
        let (own, client) = (
            service.web.addresses()[family],
            service.other.addresses()[family],
        );
        let request = Request::new(SocketType::Udp, host, 8080).source_port(5000);
        peer::send_request(&service.other.netns, &request);
        let flows = service.fixture.flows(&["--address", client]);
        check(
            only(&flows),
            "hairpin",
            &tuple(client, 5000, host, 8080),
            &tuple(own, 80, client, 5000),
            ("web", "network_a"),
        );
    }
    let table = service
        .fixture
        .daemon
        .cli(&["map", "dump", "nat"])
        .success();
    assert!(
        table.contains("hairpin") && table.contains(HOST.0),
        "{table}"
    );
    service
        .fixture
        .assert_clean(&[&service.web, &service.other]);
}

#[test]
fn dump_shows_echo_with_its_identifier() {
    let service = service();
    for (address, host, protocol, own) in [
        (OUTSIDE.0, HOST.0, "icmp", &service.other.v4),
        (OUTSIDE.1, HOST.1, "icmpv6", &service.other.v6),
    ] {
        assert_eq!(peer::ping(&service.other.netns, address, 4711, 3), 3);
        let flows = service
            .fixture
            .flows(&["--protocol", protocol, "--address", address]);
        let flow = only(&flows);
        assert_eq!(flow["kind"], "snat");
        assert_eq!(flow["original"]["source"], own.as_str());
        assert_eq!(flow["original"]["source_port"], 4711, "{flow:#}");
        assert_eq!(flow["reply"]["destination"], host, "{flow:#}");
        assert_eq!(flow["packets"], json!([3, 3]), "{flow:#}");
    }
    service.fixture.assert_clean(&[&service.other]);
}

#[test]
fn dump_shows_fragmented_datagram_until_it_is_complete() {
    let service = service();
    let fragments = |arguments: &[&str]| {
        let command = [&["map", "dump", "fragments"], arguments].concat();
        let rows = service.fixture.daemon.json(&command);
        rows.as_array().expect("rows").clone()
    };
    assert_eq!(fragments(&[]), [] as [Value; 0]);
    let parts = [
        format!(
            "Ether()/IP(src={:?}, dst={:?}, id=77, flags=1)/UDP(sport=4000, dport=8080, len=72, chksum=0)/Raw(bytes(32))",
            OUTSIDE.0, HOST.0
        ),
        format!(
            "Ether()/IP(src={:?}, dst={:?}, id=77, frag=5, proto=17)/Raw(bytes(32))",
            OUTSIDE.0, HOST.0
        ),
    ];
    peer::craft(service.fixture.outside(), "eth0", &parts[0]);
    service
        .fixture
        .wait_for("a row", || fragments(&[]).len() == 1);
    let row = &fragments(&["--sandbox", "web", "--address", HOST.0])[0];
    assert_eq!(row["protocol"], 17, "{row:#}");
    let original = json!({"source": OUTSIDE.0, "destination": HOST.0, "id": 77});
    assert_eq!(row["original"], original, "{row:#}");
    assert_eq!(row["translated"]["source"], OUTSIDE.0, "{row:#}");
    assert_eq!(row["translated"]["destination"], service.web.v4, "{row:#}");
    assert_eq!(row["bytes"], 40, "{row:#}");
    assert_eq!(row["total"], Value::Null, "{row:#}");
    assert_eq!(row["network"], "network_a", "{row:#}");
    assert_eq!(fragments(&["--sandbox", "other"]), [] as [Value; 0]);
    peer::craft(service.fixture.outside(), "eth0", &parts[1]);
    service
        .fixture
        .wait_for("no row", || fragments(&[]).is_empty());
    service.fixture.assert_clean(&[&service.web]);
}

#[test]
fn dump_filters_select_flows() {
    let service = service();
    let fixture = &service.fixture;
    peer::send_request(
        &service.other.netns,
        &Request::new(SocketType::Tcp, OUTSIDE.0, 7000),
    );
    peer::send_request(
        &service.other.netns,
        &Request::new(SocketType::Udp, OUTSIDE.1, 7000),
    );
    peer::send_request(
        fixture.outside(),
        &Request::new(SocketType::Tcp, HOST.0, 8080),
    );
    for (filter, expected) in [
        (&[][..], 3),
        (&["--sandbox", "other"], 2),
        (&["--sandbox", "web"], 1),
        (&["--protocol", "udp"], 1),
        (&["--protocol", "tcp"], 2),
        (&["--sandbox", "other", "--protocol", "udp"], 1),
        (&["--address", OUTSIDE.1], 1),
        (&["--address", OUTSIDE.0], 2),
        (&["--address", "203.0.113.7"], 0),
        (&["--protocol", "icmp"], 0),
    ] {
        let flows = fixture.flows(filter);
        assert_eq!(flows.len(), expected, "{filter:?}: {flows:#?}");
    }
    let maps = fixture.daemon.json(&["map", "ls"]);
    let rows = maps.as_array().expect("maps");
    for row in rows {
        for key in ["name", "kind"] {
            assert!(row[key].is_string(), "{row}");
        }
        for key in ["entries", "max_entries", "bytes"] {
            assert!(row[key].is_u64(), "{row}");
        }
    }
    let flows = rows
        .iter()
        .find(|row| row["name"] == "flows")
        .expect("flows");
    assert_eq!(flows["entries"], 6, "two entries per flow");
    fixture.assert_clean(&[&service.web, &service.other]);
}
