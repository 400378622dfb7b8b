//! Ranges of published ports, and the precedence of entries.

use std::time::{Duration, Instant};

use netpath_tests::{
    fixture::{Fixture, HOST, LOOPBACK, NETWORK_A},
    peer::{self, Request, SocketType},
};

#[track_caller]
fn entries(fixture: &Fixture) -> u64 {
    let maps = fixture.daemon.json(&["map", "ls"]);
    let mut maps = maps.as_array().into_iter().flatten();
    let ports = maps.find(|map| map["name"] == "ports").expect("map ports");
    ports["entries"].as_u64().expect("entries")
}

#[test]
fn range_is_one_entry_and_every_port_works() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &[]);
    let before = entries(&fixture);
    fixture
        .daemon
        .cli(&["port", "publish", "web", "10000-30000:10000-30000/udp"])
        .success();
    assert_eq!(entries(&fixture), before + 1);
    let dump = fixture.daemon.json(&["map", "dump", "ports"]);
    assert_eq!(dump.as_array().map(Vec::len), Some(1), "{dump}");
    assert_eq!(dump[0]["host_port"], 10_000);
    assert_eq!(dump[0]["host_port_end"], 30_000);

    let ports = [
        "9999", "10000", "10001", "16384", "20000", "29999", "30000", "30001",
    ];
    let _server = peer::serve(&web.netns, "web", &ports);
    for (from, addresses) in [
        (fixture.outside(), [HOST.0, HOST.1]),
        (fixture.host(), [LOOPBACK.0, LOOPBACK.1]),
    ] {
        for address in addresses {
            let request_to = |port: u16| Request::new(SocketType::Udp, address, port);
            let inside = [10_000, 10_001, 16_384, 20_000, 29_999, 30_000];
            let replies = peer::send_requests(from, &inside.map(request_to));
            for (port, reply) in inside.into_iter().zip(replies) {
                assert_eq!((reply.port, reply.from_port), (port, port));
            }
            let mut unpublished: Vec<Request> = [9999, 30_001].map(request_to).into();
            unpublished.push(Request::new(SocketType::Tcp, address, 20_000));
            peer::assert_no_reply(from, &unpublished);
        }
    }
    fixture.assert_clean(&[&web]);
}

#[test]
fn range_maps_to_other_port_numbers() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let publish = ["4000-4010:5000-5010", "4000-4010:5000-5010/udp"];
    let web = fixture.sandbox("web", "network_a", &publish);
    let _server = peer::serve(&web.netns, "web", &["4999-5011"]);
    for address in [HOST.0, HOST.1] {
        for socket_type in [SocketType::Tcp, SocketType::Udp] {
            let request_to = |port: u16| Request::new(socket_type, address, port);
            let replies =
                peer::send_requests(fixture.outside(), &[4000, 4005, 4010].map(request_to));
            let found: Vec<u16> = replies.iter().map(|reply| reply.port).collect();
            assert_eq!(found, [5000, 5005, 5010]);
            peer::assert_no_reply(fixture.outside(), &[3999, 4011].map(request_to));
        }
    }
    fixture.assert_clean(&[&web]);
}

#[test]
fn serial_publishing_a_range_takes_about_as_long_as_one_port() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    fixture.sandbox("web", "network_a", &[]);
    let best = |spec: &str| {
        let times = (0..7).map(|_| {
            let start = Instant::now();
            fixture
                .daemon
                .cli(&["port", "publish", "web", spec])
                .success();
            let time = start.elapsed();
            fixture
                .daemon
                .cli(&["port", "unpublish", "web", spec])
                .success();
            time
        });
        times.min().expect("seven times")
    };
    let (one, range) = (best("20000:20000/udp"), best("10000-30000:10000-30000/udp"));
    assert!(
        range < 2 * one + Duration::from_millis(5),
        "one port: {one:?}, twenty thousand: {range:?}"
    );
}
