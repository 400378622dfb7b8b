//! A sandbox that exceeds its quota.

use std::{io::Write as _, net::TcpStream, time::Duration};

use netpath_tests::{
    Netns,
    fixture::{Fixture, NETWORK_A, OUTSIDE, Topology},
    peer,
};

/// The quota of a sandbox, in flows.
const QUOTA: usize = 50;

/// Attempts this many connections to the outside; returns those that were opened. Each attempt ends before TCP sends a second
/// SYN.
fn connect(netns: &Netns, count: usize) -> Vec<TcpStream> {
    let server = format!("{}:7000", OUTSIDE.0).parse().expect("an address");
    let limit = Duration::from_millis(500);
    netns.enter(|| {
        let attempts = (0..count).map(|_| TcpStream::connect_timeout(&server, limit));
        attempts.filter_map(Result::ok).collect()
    })
}

#[test]
fn sandbox_is_limited_to_its_quota_and_reported_by_status() {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    write!(
        file,
        "[timers]\nudp_new = 1.5\n[limits]\nflows = 1000\nhalf_open = 64\nflows_per_sandbox = {QUOTA}\n"
    )
    .expect("file");
    let path = format!("--config={}", file.path().display());
    let mut fixture = Fixture::start(Topology::new(), &[&path], "");
    fixture.network("network_a", NETWORK_A, &[]);
    let greedy = fixture.sandbox("greedy", "network_a", &[]);
    let modest = fixture.sandbox("modest", "network_a", &[]);
    let _server = peer::serve(fixture.outside(), "outside", &["7000"]);

    let greedy_connections = connect(&greedy.netns, QUOTA + 5);
    assert_eq!(greedy_connections.len(), QUOTA);
    let modest_connections = connect(&modest.netns, 20);
    assert_eq!(modest_connections.len(), 20);
    assert_eq!(fixture.counted("drop_quota"), 5);

    let status = fixture.daemon.json(&["status"]);
    let flows = &status["flows"];
    let expected = [
        ("entries", 70),
        ("capacity", 1000),
        ("half_open_budget", 64),
        ("per_sandbox_limit", 50),
        ("bytes_per_flow", 456),
    ];
    for (key, value) in expected {
        assert_eq!(flows[key], value, "{key} of {flows}");
    }
    let top = serde_json::json!([
        {"sandbox": "greedy", "flows": 50},
        {"sandbox": "modest", "flows": 20},
    ]);
    assert_eq!(flows["top"], top);
    assert_eq!(status["timers"]["udp_new"], 1.5);
    assert_eq!(status["timers"]["tcp_established"], 86_400);
    let degraded =
        "new flows were refused: drop_quota 5 times; sandbox 'greedy' has the most flows, 50";
    let reasons = status["degraded"].as_array().expect("degraded");
    assert!(reasons.contains(&degraded.into()), "{reasons:?}");
    let log = fixture.daemon.process().output();
    let warnings = log
        .lines()
        .filter(|line| line.contains("flows were refused"));
    let warnings: Vec<_> = warnings.collect();
    assert!(
        matches!(warnings[..], [one] if one.contains("'greedy'")),
        "{warnings:?}"
    );

    // Flows that have expired no longer count.
    fixture.daemon.cli(&["sandbox", "rm", "greedy"]).success();
    fixture.wait_for("its flows have expired", || {
        fixture.daemon.json(&["status"])["flows"]["entries"] == 20
    });
    let next = fixture.sandbox("next", "network_a", &[]);
    assert_eq!(connect(&next.netns, 5).len(), 5);
    drop((greedy_connections, modest_connections));
}
