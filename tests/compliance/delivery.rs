//! Delivery: packets reach only their own flow, and no flow is evicted.

use std::{
    collections::BTreeMap,
    env,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Barrier},
    thread,
    time::Duration,
};

use netpath_tests::{
    Netns,
    fixture::{HOST, NETWORK_A, OUTSIDE},
    packet::{ACK, SYN},
};

use crate::{
    datagrams::Datagrams,
    flow::{AddrPort, FlowProtocol},
    gate::{Offloads, run_in_parallel},
    reuse::at,
    segments::published,
};

/// A number from the environment, or the default, which keeps the test short.
pub fn size(variable: &str, default: u64) -> u64 {
    let text = env::var(variable).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(default)
}

const LIMIT: Option<Duration> = Some(Duration::from_secs(10));

/// A stream server. It returns the first eight bytes of each stream at once, and again on request.
struct Echo {
    accepted: thread::JoinHandle<Vec<(TcpStream, [u8; 8])>>,
}

impl Echo {
    #[track_caller]
    fn start(netns: &Netns, address: &str, count: u64) -> Self {
        let address = address.to_owned();
        let listener = netns.enter(|| TcpListener::bind(address).expect("listen"));
        let accepted = thread::spawn(move || {
            let accept = |_| {
                let (mut stream, _) = listener.accept().expect("a stream");
                stream.set_read_timeout(LIMIT).expect("timeout");
                let mut id = [0; 8];
                stream.read_exact(&mut id).expect("an id");
                stream.write_all(&id).expect("the identifier");
                (stream, id)
            };
            (0..count).map(accept).collect()
        });
        Self { accepted }
    }

    /// Sends every identifier again, in reverse order.
    #[track_caller]
    fn send_again(self) -> Vec<TcpStream> {
        let accepted = self.accepted.join().expect("the server");
        let write = |(mut stream, id): (TcpStream, [u8; 8])| {
            stream.write_all(&id).expect("the identifier");
            stream
        };
        accepted.into_iter().rev().map(write).collect()
    }
}

/// Opens a stream with a unique identifier, which the server must return.
#[track_caller]
fn stream(netns: &Netns, to: &str, id: u64) -> (TcpStream, u64) {
    let address = to.parse().expect("an address");
    let connect = || TcpStream::connect_timeout(&address, Duration::from_secs(5));
    let mut stream = netns.enter(connect).expect("a connection");
    stream.set_read_timeout(LIMIT).expect("timeout");
    stream.write_all(&id.to_be_bytes()).expect("an id");
    expect_id(&mut stream, id);
    (stream, id)
}

#[track_caller]
fn expect_id(stream: &mut TcpStream, id: u64) {
    let mut back = [0; 8];
    stream.read_exact(&mut back).expect("the identifier");
    assert_eq!(u64::from_be_bytes(back), id, "another stream's identifier");
}

/// U-3, T-7: two sandboxes send from the same ports to the same destination; each receives its own replies.
///
/// `NETPATH_GATE_CONNECTIONS` is the number of connections per sandbox and family. At most 15000 fit into the node's
/// ports for one destination. Each needs two descriptors.
pub fn flows_are_not_mixed(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.two_networks();
    let [a, b] =
        [("a", "network_a"), ("b", "network_b")].map(|(name, net)| fixture.sandbox(name, net, &[]));
    let connections = size("NETPATH_GATE_CONNECTIONS", 150);
    for (family, address) in [OUTSIDE.0, OUTSIDE.1].into_iter().enumerate() {
        same_port(&a.netns, &b.netns, fixture.outside(), address);
        let server = Echo::start(fixture.outside(), &at(address, 7000), 2 * connections);
        let to = at(address, 7000);
        let mut streams: Vec<_> = (0..2 * connections)
            .map(|number| {
                let netns = [&a.netns, &b.netns][usize::from(number % 2 == 1)];
                stream(netns, &to, (family as u64) << 32 | number)
            })
            .collect();
        let server_streams = server.send_again();
        for (stream, id) in &mut streams {
            expect_id(stream, *id);
        }
        assert_eq!(server_streams.len(), streams.len());
    }
    fixture.assert_clean(&[&a, &b]);
}

/// Two sandboxes send from one port, to one destination and then to another.
fn same_port(a: &Netns, b: &Netns, outside: &Netns, address: &str) {
    let servers = [7100, 7101].map(|port| Datagrams::bind(outside, address, port));
    let clients = [a, b].map(|netns| Datagrams::bind(netns, "::", 5000));
    for (number, server) in servers.iter().enumerate() {
        let port = [7100, 7101][number];
        let seen = [&clients[0], &clients[1]].map(|client| {
            client.send((address, port), "to the server");
            server.receive("a request").1
        });
        assert_ne!(
            seen[0], seen[1],
            "both flows have one port towards {address}"
        );
        let host = if address.contains(':') {
            HOST.1
        } else {
            HOST.0
        };
        for (seen, text) in seen.into_iter().zip(["for a", "for b"]) {
            server.send((host, seen), text);
        }
        for (client, text) in clients.iter().zip(["for a", "for b"]) {
            assert_eq!(client.receive("a reply").0, text);
            client.assert_silent();
        }
    }
}

/// C-11D: established flows survive any number of datagrams without reply and half-open connections.
///
/// `NETPATH_GATE_STREAMS` and `NETPATH_GATE_ONE_SHOTS` are the numbers of established streams and of datagrams without
/// reply. The full sizes are 15000, each with four open files, and 1000000.
pub fn established_flows_survive(offloads: Offloads) {
    let count = size("NETPATH_GATE_STREAMS", 100);
    let one_shots = size("NETPATH_GATE_ONE_SHOTS", 12_000);
    let flows = 4 * count + 4096;
    // A quota of the whole table, so that the quota does not protect the established flows.
    let fixture = offloads.configured(&format!(
        "[limits]\nflows = {flows}\nhalf_open = 1024\nflows_per_sandbox = {flows}\n"
    ));
    let (sandbox, ends) = published(&fixture);
    let noisy = fixture.sandbox("noisy", "network_a", &[]);
    let mut servers = Vec::new();
    let mut streams = Vec::new();
    let mut datagrams = Vec::new();
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let to = at(address, 7000);
        servers.push(Echo::start(fixture.outside(), &to, count));
        streams.extend((0..count).map(|id| stream(&sandbox.netns, &to, id)));
        let server = Datagrams::bind(fixture.outside(), address, 7000);
        let client = Datagrams::bind(&sandbox.netns, "::", 0);
        client.send((address, 7000), "hello");
        let (_, seen) = server.receive("hello");
        let host = if address.contains(':') {
            HOST.1
        } else {
            HOST.0
        };
        server.send((host, seen), "hello");
        client.receive("hello back");
        datagrams.push((server, client, host, seen));
    }

    let own: Vec<_> = ["192.0.2.2", "2001:db8:2::2"]
        .into_iter()
        .map(|address| (address, noisy.netns.enter(|| any(address))))
        .collect();
    for number in 0..one_shots {
        let (address, socket) = &own[usize::from(number % 2 == 1)];
        let port = 10_000 + u16::try_from(number / 2 % 50_000).expect("a port");
        // The next call reports a refused datagram.
        let _ = socket.send_to(b"x", (*address, port));
    }
    for number in 0..2000 {
        let flow = ends.inbound(usize::from(number % 2), FlowProtocol::Tcp, 10_000 + number);
        ends.send_outside(&flow.sent_outside().flags(SYN));
    }

    let server_streams: Vec<TcpStream> = servers.into_iter().flat_map(Echo::send_again).collect();
    for (stream, id) in &mut streams {
        expect_id(stream, *id);
    }
    assert_eq!(server_streams.len(), streams.len());
    for (server, client, host, seen) in &datagrams {
        server.send((host, *seen), "still open");
        assert_eq!(client.receive("still open").0, "still open");
    }
    fixture.assert_clean(&[&sandbox]);
}

fn any(like: &str) -> UdpSocket {
    let own = if like.contains(':') {
        "[::]:0"
    } else {
        "0.0.0.0:0"
    };
    UdpSocket::bind(own).expect("a socket")
}

/// U-8, T-3: only the destination of a sandbox's packet may reply, and only from the destination port.
pub fn filtering(offloads: Offloads) {
    run_in_parallel(offloads, &[other_sources, discovery]);
}

fn other_sources(offloads: Offloads) {
    let fixture = offloads.fixture();
    let (_sandbox, ends) = published(&fixture);
    for family in [0, 1] {
        let other = [
            [203, 0, 113, 8].into(),
            "2001:db8:203::8".parse().expect("v6"),
        ][family];
        for protocol in [FlowProtocol::Udp, FlowProtocol::Tcp] {
            let flow = ends.outbound(family, protocol, 5000);
            flow.leaves("the first packet", |packet| match protocol {
                FlowProtocol::Tcp => packet.flags(SYN),
                _ => packet,
            });
            let AddrPort(remote, port) = flow.remote;
            for other_source in [
                AddrPort(remote, port + 1),
                AddrPort(other, port),
                AddrPort(other, 9),
            ] {
                for flags in [SYN, SYN | ACK, ACK] {
                    let packet = flow.between(other_source, flow.outer);
                    ends.send_outside(&match protocol {
                        FlowProtocol::Tcp => packet.flags(flags),
                        _ => packet,
                    });
                }
            }
            let inner = flow.inner.1.to_be_bytes();
            ends.inside.expect_nothing("from another source", |frame| {
                let ports = [34, 54][family];
                frame.get(ports + 2..ports + 4) == Some(&inner[..])
            });
            flow.arrives("the reply", |packet| match protocol {
                FlowProtocol::Tcp => packet.flags(SYN | ACK),
                _ => packet,
            });
        }
    }
    fixture.assert_clean(&[]);
}

/// The result of a STUN behaviour test (RFC 5780), which is first verified without a translator.
fn discovery(offloads: Offloads) {
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &[]);
    let outside = fixture.outside();
    outside.exec("ip addr add 192.0.2.12/24 dev eth0");
    let _server = outside.spawn(
        "turnserver -n -L 192.0.2.2 -L 192.0.2.12 --stun-only --no-tls --no-dtls --no-cli \
         --log-file stdout --simple-log --pidfile /dev/null",
    );
    outside.wait_for_port(netpath_tests::Transport::Udp, 3478);
    let discover = |netns: &Netns| {
        let command = "turnutils_natdiscovery -m -f 192.0.2.2";
        netns.exec(command)
    };
    let control = discover(fixture.host());
    assert!(
        control.contains("Endpoint Independent Filtering"),
        "{control}"
    );
    let found = discover(&sandbox.netns);
    assert!(found.contains("Endpoint Independent Mapping"), "{found}");
    assert!(
        found.contains("Address and Port Dependent Filtering"),
        "{found}"
    );
    fixture.assert_clean(&[&sandbox]);
}

/// H-8: the first packets of a flow, sent by several threads at the same time, create one flow.
pub fn first_packets(offloads: Offloads) {
    const ROUNDS: usize = 150;
    const THREADS: usize = 4;
    let fixture = offloads.fixture();
    fixture.network("network_a", NETWORK_A, &[]);
    let sandbox = fixture.sandbox("client", "network_a", &[]);
    for address in [OUTSIDE.0, OUTSIDE.1] {
        let server = Datagrams::bind(fixture.outside(), address, 7000);
        // Ports that cannot be kept, so that every first packet chooses a port.
        let sockets: Vec<UdpSocket> = sandbox
            .netns
            .enter(|| (0..ROUNDS).map(|_| any(address)).collect());
        let sockets = Arc::new(sockets);
        let barrier = Arc::new(Barrier::new(THREADS));
        let threads: Vec<_> = (0..THREADS)
            .map(|_| {
                let (sockets, barrier) = (Arc::clone(&sockets), Arc::clone(&barrier));
                let address = address.to_owned();
                thread::spawn(move || {
                    for (number, socket) in sockets.iter().enumerate() {
                        barrier.wait();
                        let text = number.to_string();
                        let sent = socket.send_to(text.as_bytes(), (address.as_str(), 7000));
                        sent.expect("send");
                    }
                })
            })
            .collect();
        let mut seen: BTreeMap<String, Vec<u16>> = BTreeMap::new();
        for _ in 0..ROUNDS * THREADS {
            let (number, port) = server.receive("a first packet");
            seen.entry(number).or_default().push(port);
        }
        for thread in threads {
            thread.join().expect("a sender");
        }
        assert_eq!(seen.len(), ROUNDS);
        for (number, ports) in &seen {
            assert!(
                ports.iter().all(|port| *port == ports[0]),
                "socket {number} has more than one outer port: {ports:?}"
            );
        }
        let flows = fixture.flows(&["--protocol", "udp", "--address", address]);
        assert_eq!(flows.len(), ROUNDS, "{address}");
        let mut ports: Vec<u16> = seen.values().map(|ports| ports[0]).collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), ROUNDS, "two sockets share an outer port");
    }
    fixture.assert_clean(&[&sandbox]);
}
