//! Published ports of Docker containers.

use netpath_tests::{
    fixture::{HOST, OUTSIDE},
    peer::{self, Request, SocketType},
};

use crate::engine::Engine;

fn both(address: &str, port: u16) -> Vec<Request> {
    [SocketType::Tcp, SocketType::Udp]
        .map(|socket_type| Request::new(socket_type, address, port))
        .into()
}

/// Number of containers that a test starts.
fn runs() -> u32 {
    let runs = std::env::var("NETPATH_ENGINE_RUNS").ok();
    runs.map_or(15, |runs| runs.parse().expect("NETPATH_ENGINE_RUNS"))
}

#[test]
fn published_ports_are_reachable_from_everywhere() {
    let engine = Engine::start();
    let web = engine.sleeper(
        "web",
        "-p 8080:80 -p 8080:80/udp -p 9000-9999:9000-9999/udp -p 127.0.0.1:7000:80",
    );
    let sibling = engine.sleeper("sibling", "");
    engine.docker("network create other");
    let other = engine.sleeper("other", "--network other");
    let _server = peer::serve(&web, "web", &["80", "9500"]);
    let (host, outside) = (&engine.topology.host, &engine.topology.outside);

    peer::send_requests(outside, &both(HOST.0, 8080));
    peer::send_requests(outside, &[Request::new(SocketType::Udp, HOST.0, 9500)]);
    for client in [&sibling, &other, &web] {
        peer::send_requests(client, &both(HOST.0, 8080));
    }
    // From the cgroup of the host.
    for address in ["127.0.0.1", HOST.0, "172.17.0.1"] {
        peer::send_requests(host, &both(address, 8080));
    }
    peer::send_requests(host, &[Request::new(SocketType::Tcp, "127.0.0.1", 7000)]);
    peer::assert_no_reply(outside, &[Request::new(SocketType::Tcp, HOST.0, 7000)]);
    assert_eq!(
        engine.ports(),
        [
            "0.0.0.0:8080-8080/tcp",
            "0.0.0.0:8080-8080/udp",
            "0.0.0.0:9000-9999/udp",
            "127.0.0.1:7000-7000/tcp",
        ]
    );
    let status = engine.netpath("status");
    assert_eq!(status["degraded"], serde_json::json!([]), "{status}");
    engine.assert_clean();
}

#[test]
fn outbound_connections_have_the_address_of_the_host() {
    let engine = Engine::start();
    let container = engine.sleeper("client", "");
    let _outside = peer::serve(&engine.topology.outside, "outside", &["7000"]);
    for socket_type in SocketType::ALL {
        let request = Request::new(socket_type, OUTSIDE.0, 7000);
        let reply = peer::send_request(&container, &request);
        assert_eq!(reply.peer, HOST.0);
    }
    engine.assert_clean();
}

#[test]
fn fixed_port_of_a_new_container_is_reachable_within_a_second() {
    let engine = Engine::start();
    for _ in 0..runs() {
        engine.docker("run -d --name web -p 8080:80 box httpd -f -p 80 -h /www");
        // A client that connects before the port is published connects to the engine's socket, which does not reply.
        let url = format!("http://{}:8080/", HOST.0);
        let arguments = [
            "curl",
            "-s",
            "-m",
            "0.3",
            "--retry",
            "3",
            "--retry-delay",
            "0",
            &url,
        ];
        let reply = engine.topology.outside.run(&arguments);
        assert_eq!(reply.stdout, "hello\n", "{}", reply.stderr);
        engine.docker("rm -f web");
    }
    engine.assert_clean();
}

#[test]
fn ephemeral_port_is_published() {
    let engine = Engine::start();
    let web = engine.sleeper("web", "-p 80");
    let _server = peer::serve(&web, "web", &["80"]);
    let port = engine.docker("port web 80");
    let port: u16 = port
        .rsplit(':')
        .next()
        .expect("port")
        .parse()
        .expect("port");
    engine.wait("the port is published", |engine| !engine.ports().is_empty());
    peer::send_requests(
        &engine.topology.outside,
        &[Request::new(SocketType::Tcp, HOST.0, port)],
    );
    engine.assert_clean();
}

#[test]
fn connection_that_a_container_opens_at_its_start_succeeds() {
    let engine = Engine::start();
    let _outside = peer::serve(&engine.topology.outside, "outside", &["7000"]);
    for _ in 0..5 {
        // A SYN that is sent before the endpoint is adopted is dropped, and sent again after a second.
        let script = format!("echo | nc -w 4 {} 7000 || true", OUTSIDE.0);
        let reply = engine.docker(&format!("run --rm box sh -c '{script}'"));
        assert!(reply.contains(HOST.0), "{reply}");
    }
}
