//! Further clients of a published port.

use netpath_tests::{
    fixture::{
        Fixture, GATEWAY_A, GATEWAY_B, HOST, LOOPBACK, OUTSIDE, PUBLISHED, Service,
        assert_source_seen, both,
    },
    peer::{self, Request, SocketType},
};

fn service() -> Service {
    Service::on(Fixture::new())
}

#[test]
fn published_port_is_reached_at_every_gateway() {
    let service = service();
    let _server = peer::serve(&service.web.netns, "web", &["80"]);
    let (sibling, other) = (&service.sibling, &service.other);

    for gateway in [GATEWAY_A, GATEWAY_B] {
        assert_source_seen(
            "host",
            service.fixture.host(),
            both(gateway),
            both(GATEWAY_A),
        );
        assert_source_seen(
            "sibling",
            &sibling.netns,
            both(gateway),
            sibling.addresses(),
        );
        assert_source_seen("other", &other.netns, both(gateway), other.addresses());
        assert_source_seen("itself", &service.web.netns, both(gateway), both(GATEWAY_A));
    }
    service
        .fixture
        .assert_clean(&[&service.web, sibling, other]);
}

#[test]
fn host_process_bound_to_a_local_address_reaches_published_port() {
    let service = service();
    let _server = peer::serve(&service.web.netns, "web", &["80"]);
    for (own, requested) in [(HOST, HOST), (HOST, LOOPBACK), (GATEWAY_A, HOST)] {
        let requests = both(own)
            .into_iter()
            .zip(both(requested))
            .flat_map(|(own, requested)| {
                SocketType::ALL.map(|socket_type| {
                    Request::new(socket_type, requested, PUBLISHED).source_address(own)
                })
            });
        let requests: Vec<Request> = requests.collect();
        let replies = peer::send_requests(service.fixture.host(), &requests);
        for (request, reply) in requests.iter().zip(replies) {
            assert_eq!(reply.from, request.address(), "{request}: {reply:?}");
        }
    }
    service.fixture.assert_clean(&[&service.web]);
}

/// Python program that connects a UDP socket and waits for a reply, and then for a second reply or an error.
const CONNECTED: &str = "
import socket, sys
peer = socket.getaddrinfo(sys.argv[1], 8080, type=socket.SOCK_DGRAM)[0]
s = socket.socket(peer[0], socket.SOCK_DGRAM)
s.connect(peer[4])
s.send(b'hello')
s.recv(1000)
print('reply received', flush=True)
try:
    s.recv(1000)
except OSError as error:
    print(error.errno, flush=True)
";

#[test]
fn connected_host_socket_gets_an_error_when_its_sandbox_is_removed() {
    let service = service();
    let server = peer::serve(&service.web.netns, "web", &["80"]);
    let mut clients: Vec<_> = [LOOPBACK.0, LOOPBACK.1, HOST.0]
        .iter()
        .map(|address| {
            let mut client = service
                .fixture
                .host()
                .start(&["python3", "-c", CONNECTED, address]);
            client.wait_for_output("reply received");
            client
        })
        .collect();
    drop(server);
    service
        .fixture
        .daemon
        .cli(&["sandbox", "rm", "web"])
        .success();
    for client in &mut clients {
        client.wait_for_output(&libc::ECONNABORTED.to_string());
    }
    service
        .fixture
        .assert_clean(&[&service.sibling, &service.other]);
}

#[test]
fn sandbox_loopback_is_not_translated() {
    let service = service();
    let _server = peer::serve(&service.web.netns, "web", &["80"]);
    let _own = peer::serve(&service.sibling.netns, "own", &["8080"]);
    for socket_type in SocketType::ALL {
        for address in [LOOPBACK.0, LOOPBACK.1] {
            let request = Request::new(socket_type, address, PUBLISHED);
            let reply = peer::send_request(&service.sibling.netns, &request);
            assert_eq!(reply.name, "own", "{request}");
            peer::assert_no_reply(&service.other.netns, &[request]);
        }
    }
    service
        .fixture
        .assert_clean(&[&service.web, &service.sibling, &service.other]);
}

#[test]
fn client_uses_one_source_port_for_two_node_addresses() {
    let service = service();
    let _server = peer::serve(&service.web.netns, "web", &["80"]);
    let host = service.fixture.host();
    host.exec("ip addr add 192.0.2.9/24 dev eth0");
    let request_to =
        |socket_type, address| Request::new(socket_type, address, PUBLISHED).source_port(22_000);
    service.fixture.wait_for("the new address is in use", || {
        let probe = [Request::new(SocketType::Tcp, "192.0.2.9", PUBLISHED)];
        peer::send_requests_within(
            service.fixture.outside(),
            &probe,
            std::time::Duration::from_millis(200),
        )[0]
        .is_ok()
    });
    for socket_type in [SocketType::Tcp, SocketType::Udp] {
        let replies = [HOST.0, "192.0.2.9"]
            .map(|to| peer::send_request(service.fixture.outside(), &request_to(socket_type, to)));
        for reply in &replies {
            assert_eq!(reply.peer, OUTSIDE.0, "{reply:?}");
        }
        assert_eq!(replies[0].peer_port, 22_000, "a free source port is kept");
        assert_ne!(
            replies[1].peer_port, 22_000,
            "a source port that is in use is replaced"
        );
    }
    service.fixture.assert_clean(&[&service.web]);
}
