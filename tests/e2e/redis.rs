//! Redis behind a published port.

use netpath_tests::Netns;

use crate::stage::{HOST, LOOPBACK, OUTSIDE, SHOP, SHOP_GATEWAY, Sandbox, Stage};

/// What the program says about connections that are not kept, whether or not they succeed.
const TIME_WAIT_WARNING: &str = "WARNING: Keepalive disabled. You probably need 'echo 1 > \
     /proc/sys/net/ipv4/tcp_tw_reuse' for Linux and 'sudo sysctl -w net.inet.tcp.msl=1000' for Mac OS X in order to \
     use a lot of clients/requests";

fn cache() -> (Stage, Sandbox) {
    let stage = Stage::new();
    stage.network("shop", SHOP, &[]);
    let cache = stage.sandbox("cache", "shop", &["6380:6379"]);
    (stage, cache)
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
fn redis_lists_the_true_client() {
    let (stage, cache) = cache();
    let _server = serve(&cache);
    for (from, address, expected) in [
        (stage.outside(), HOST.0, OUTSIDE.0),
        (stage.outside(), HOST.1, OUTSIDE.1),
        (stage.host(), LOOPBACK.0, SHOP_GATEWAY.0),
        (stage.host(), LOOPBACK.1, SHOP_GATEWAY.1),
        (stage.host(), HOST.0, SHOP_GATEWAY.0),
        (&cache.netns, HOST.0, SHOP_GATEWAY.0),
        (&cache.netns, HOST.1, SHOP_GATEWAY.1),
    ] {
        assert_eq!(
            seen(from, address),
            expected,
            "{} by {address}",
            from.name()
        );
    }
    stage.assert_clean(&[&cache]);
}

#[test]
fn redis_is_measured_without_an_error() {
    let (stage, cache) = cache();
    let _server = serve(&cache);
    for (from, address) in [
        (stage.outside(), HOST.0),
        (stage.outside(), HOST.1),
        (stage.host(), LOOPBACK.0),
        (stage.host(), LOOPBACK.1),
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
    stage.assert_clean(&[&cache]);
}
