//! Redis behind a published port.

use netpath_tests::{
    Netns,
    fixture::{Fixture, GATEWAY_A, HOST, LOOPBACK, NETWORK_A, OUTSIDE, Sandbox},
};

/// Output of redis-benchmark about connections without keep-alive. It also appears if they succeed.
const TIME_WAIT_WARNING: &str = "WARNING: Keepalive disabled. You probably need 'echo 1 > \
     /proc/sys/net/ipv4/tcp_tw_reuse' for Linux and 'sudo sysctl -w net.inet.tcp.msl=1000' for Mac OS X in order to \
     use a lot of clients/requests";

fn cache() -> (Fixture, Sandbox) {
    let fixture = Fixture::new();
    fixture.network("network_a", NETWORK_A, &[]);
    let cache = fixture.sandbox("cache", "network_a", &["6380:6379"]);
    (fixture, cache)
}

#[track_caller]
fn serve(cache: &Sandbox) -> netpath_tests::Process {
    let mut server = cache.netns.start(&[
        "redis-server",
        "--protected-mode",
        "no",
        "--save",
        "",
        "--bind",
        "*",
        "-::*",
    ]);
    server.wait_for_output("Ready to accept connections");
    server
}

#[track_caller]
fn seen(from: &Netns, address: &str) -> String {
    let list = from.exec(&format!("redis-cli -h {address} -p 6380 CLIENT LIST"));
    let mut words = list.split_ascii_whitespace();
    let peer = words.find_map(|word| word.strip_prefix("addr="));
    let (peer, _) = peer.and_then(|peer| peer.rsplit_once(':')).expect("addr=");
    peer.trim_matches(['[', ']']).to_owned()
}

#[test]
fn redis_sees_the_client_address() {
    let (fixture, cache) = cache();
    let _server = serve(&cache);
    for (from, address, expected) in [
        (fixture.outside(), HOST.0, OUTSIDE.0),
        (fixture.outside(), HOST.1, OUTSIDE.1),
        (fixture.host(), LOOPBACK.0, GATEWAY_A.0),
        (fixture.host(), LOOPBACK.1, GATEWAY_A.1),
        (fixture.host(), HOST.0, GATEWAY_A.0),
        (&cache.netns, HOST.0, GATEWAY_A.0),
        (&cache.netns, HOST.1, GATEWAY_A.1),
    ] {
        assert_eq!(
            seen(from, address),
            expected,
            "{} by {address}",
            from.name()
        );
    }
    fixture.assert_clean(&[&cache]);
}

#[test]
fn redis_benchmark_has_no_error() {
    let (fixture, cache) = cache();
    let _server = serve(&cache);
    for (from, address) in [
        (fixture.outside(), HOST.0),
        (fixture.outside(), HOST.1),
        (fixture.host(), LOOPBACK.0),
        (fixture.host(), LOOPBACK.1),
    ] {
        for keep_alive in ["1", "0"] {
            let output = from.run(&[
                "redis-benchmark",
                "-h",
                address,
                "-p",
                "6380",
                "-q",
                "-n",
                "3000",
                "-c",
                "50",
                "-k",
                keep_alive,
                "-t",
                "set,get",
            ]);
            let complaints = output.stderr.replace(TIME_WAIT_WARNING, "");
            assert_eq!(complaints.trim(), "", "{address}");
            let text = output.success();
            assert!(!text.to_lowercase().contains("error"), "{address}: {text}");
            assert_eq!(
                text.matches("requests per second").count(),
                2,
                "{address}: {text}"
            );
        }
    }
    fixture.assert_clean(&[&cache]);
}
