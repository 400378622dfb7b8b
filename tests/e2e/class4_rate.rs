//! Rates of endpoints.

use serde_json::Value;

use netpath_tests::{
    Netns, Process, Transport,
    fixture::{Fixture, HOST, NETWORK_A, Pair},
};

/// Seconds of each measurement.
const SECONDS: u32 = 3;

/// Bits per second that the receiver gets from `flows` connections; `back` if the server sends.
#[track_caller]
fn measure(client: &Netns, server: &str, port: u16, flows: u32, back: bool) -> f64 {
    let direction = if back { "-R" } else { "" };
    let report = client.exec(&format!(
        "iperf3 -J -c {server} -p {port} -P {flows} -t {SECONDS} {direction}"
    ));
    let report: Value = serde_json::from_str(&report).expect("report");
    let rate = &report["end"]["sum_received"]["bits_per_second"];
    rate.as_f64().unwrap_or_else(|| panic!("{report}"))
}

/// A server for one measurement: `iperf3` does not listen for a while after each measurement.
fn serve(netns: &Netns) -> Process {
    let server = netns.spawn("iperf3 -s -p 80");
    netns.wait_for_port(Transport::Tcp, 80);
    server
}

/// Fails unless both directions of a published port have between 90 and 105 % of a rate.
#[track_caller]
fn assert_rate(text: &str, rate: f64, flows: u32, host: &str) {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    fixture.cli_ok(&format!(
        "sandbox create web --network network_a -p 8080:80 --rate {text}"
    ));
    let web = fixture.inspect("web");
    for back in [false, true] {
        let _server = serve(&web.netns);
        let share = measure(fixture.outside(), host, 8080, flows, back) / rate;
        println!("{text}, {flows} flows, back: {back}: {share:.3}");
        assert!(
            (0.9..=1.05).contains(&share),
            "{text} {flows} {back} {share}"
        );
    }
    assert!(fixture.counted("drop_rate") > 0);
    assert!(fixture.counted("pass_queued") > 0);
    fixture.assert_clean(&[&web]);
}

#[test]
fn class4_rate_of_10_mbit_limits_one_flow_in_each_direction() {
    assert_rate("10mbit", 1e7, 1, HOST.0);
}

#[test]
fn class4_rate_of_10_mbit_limits_eight_flows_in_each_direction() {
    assert_rate("10mbit", 1e7, 8, HOST.1);
}

#[test]
fn class4_rate_of_100_mbit_limits_one_flow_in_each_direction() {
    assert_rate("100mbit", 1e8, 1, HOST.1);
}

#[test]
fn class4_rate_of_100_mbit_limits_eight_flows_in_each_direction() {
    assert_rate("100mbit", 1e8, 8, HOST.0);
}

#[test]
fn class4_rate_of_1_gbit_limits_flows_in_each_direction() {
    assert_rate("1gbit", 1e9, 1, HOST.0);
}

#[test]
fn class4_rate_limits_siblings_and_hairpins() {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    fixture.cli_ok("sandbox create web --network network_a -p 8080:80 --rate 20mbit");
    let web = fixture.inspect("web");
    let client = fixture.sandbox("client", "network_a", &[]);
    for (server, port) in [(web.v4.as_str(), 80), (HOST.1, 8080)] {
        for back in [false, true] {
            let _server = serve(&web.netns);
            let share = measure(&client.netns, server, port, 2, back) / 2e7;
            println!("{server}, back: {back}: {share:.3}");
            assert!((0.9..=1.05).contains(&share), "{server} {back} {share}");
        }
    }
    fixture.assert_clean(&[&web, &client]);
}

/// The root queueing discipline of a device.
fn qdisc(fixture: &Fixture, device: &str) -> String {
    fixture
        .host()
        .exec(&format!("tc qdisc show dev {device} root"))
}

#[test]
fn class4_queue_of_an_endpoint_with_a_rate_is_restored() {
    let mut fixture = Fixture::with_fast_reconcile();
    fixture.two_networks();
    fixture.cli_ok("sandbox create web --network network_a --rate 10mbit");
    let device = fixture.inspect("web").host_interface;
    let is_right = |fixture: &Fixture| {
        let shown = qdisc(fixture, &device);
        shown.contains("tbf 4e50:") && shown.contains("rate 10Mbit")
    };
    assert!(is_right(&fixture), "{}", qdisc(&fixture, &device));
    for change in [
        "del",
        "replace handle 4e50: tbf rate 1mbit burst 16kb limit 64kb",
        "replace handle 1: tbf rate 1mbit burst 16kb limit 64kb",
        "replace handle 1: pfifo limit 10",
    ] {
        let (verb, rest) = change.split_once(' ').unwrap_or((change, ""));
        fixture
            .host()
            .exec(&format!("tc qdisc {verb} dev {device} root {rest}"));
        fixture.wait_for(change, || is_right(&fixture));
    }
    let shown = fixture.json("sandbox inspect web");
    assert_eq!(shown[0]["endpoints"][0]["rate"], 10_000_000);
    assert!(fixture.cli_ok("sandbox inspect web").contains("10mbit"));

    fixture.cli_ok("network connect network_b web --rate 5mbit");
    let shown = fixture.json("sandbox inspect web");
    let rates = |number: usize| shown[0]["endpoints"][number]["rate"].clone();
    assert_eq!((rates(0), rates(1)), (10_000_000.into(), 5_000_000.into()));
    fixture.daemon.restart();
    assert!(is_right(&fixture));
    let again = fixture.json("sandbox inspect web");
    assert_eq!(shown[0]["endpoints"], again[0]["endpoints"]);
}

#[test]
fn class4_queue_of_another_program_is_kept_and_reported() {
    let fixture = Fixture::with_fast_reconcile();
    fixture.network("network_a", NETWORK_A, &[]);
    let web = fixture.sandbox("web", "network_a", &[]);
    fixture.cli_ok("sandbox create limited --network network_a --rate 10mbit");
    let device = &web.host_interface;
    let found = |fixture: &Fixture| -> String {
        let report = fixture.cli("doctor -o json").stdout;
        let findings: Value = serde_json::from_str(&report).expect("findings");
        let mut list = findings.as_array().into_iter().flatten();
        let finding = list.find(|finding| finding["name"] == "qdiscs");
        finding.expect("qdiscs").to_string()
    };
    assert!(found(&fixture).contains("\"ok\""), "{}", found(&fixture));
    fixture.host().exec(&format!(
        "tc qdisc add dev {device} root tbf rate 1mbit burst 16kb limit 64kb"
    ));
    let report = found(&fixture);
    assert!(report.contains("\"warn\""), "{report}");
    assert!(report.contains(&format!("tbf on {device}")), "{report}");
    std::thread::sleep(std::time::Duration::from_secs(3));
    assert!(qdisc(&fixture, device).contains("tbf"));
}

#[test]
fn class4_invalid_rate_is_a_usage_error() {
    let fixture = Fixture::new();
    let options: [Pair; 3] = [
        ("fast", "kbit, mbit or gbit"),
        ("10mbps", "kbit, mbit or gbit"),
        ("1kbit", "100kbit to 100gbit"),
    ];
    for (text, expected) in options {
        let refused = fixture.cli(&format!("sandbox create web --rate {text}"));
        assert_eq!(refused.status, Some(2));
        assert!(refused.stderr.contains(expected), "{}", refused.stderr);
    }
    let refused = fixture.cli("sandbox create web --network none --rate 10mbit");
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("a rate"), "{}", refused.stderr);
    assert!(fixture.sandboxes().is_empty());
}
