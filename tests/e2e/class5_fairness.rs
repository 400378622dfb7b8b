//! One sandbox, or a host outside, opens flows as fast as it can; others are not affected.

use std::{
    collections::VecDeque,
    env,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use netpath_tests::{
    Netns, Wire,
    fixture::{Fixture, HOST, NETWORK_A, OUTSIDE, Topology},
    mac_of,
    packet::{Packet, SYN},
};
use nix::sys::socket::{setsockopt, sockopt};

/// A number from the environment.
pub(crate) fn size(variable: &str, default: u64) -> u64 {
    let text = env::var(variable).ok();
    text.map_or(default, |text| text.parse().expect(variable))
}

/// The flow table of a host with 1 GiB of memory.
const CONFIG: &str = "[limits]\nflows = 65536\n";

/// A node with a small flow table.
pub(crate) fn fixture() -> Fixture {
    let fixture = Fixture::start(Topology::new(), &[], CONFIG);
    fixture.network("network_a", NETWORK_A, &[]);
    fixture
}

fn both(port: u16) -> [SocketAddr; 2] {
    [OUTSIDE.0, OUTSIDE.1].map(|address| at(address, port))
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(address.parse::<IpAddr>().expect("an address"), port)
}

fn any(like: SocketAddr) -> SocketAddr {
    at(if like.is_ipv4() { "0.0.0.0" } else { "::" }, 0)
}

/// Calls `work` until `stop` is set, at most `rate` times a second.
fn repeat_until(stop: &AtomicBool, rate: u64, mut work: impl FnMut(u64)) -> u64 {
    let start = Instant::now();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if number > (start.elapsed().as_secs_f64() * rate as f64) as u64 {
            thread::sleep(Duration::from_micros(200));
            continue;
        }
        work(number);
        number += 1;
    }
    number
}

/// Sends datagrams from the namespace to the outside, each to another port than the previous one, until `stop` is set.
/// Returns their number.
pub(crate) fn flood(netns: &Netns, rate: u64, stop: &AtomicBool) -> u64 {
    netns.enter(|| {
        let pairs = both(0).map(|to| (to.ip(), UdpSocket::bind(any(to)).expect("bind")));
        repeat_until(stop, rate, |number| {
            let (to, socket) = &pairs[usize::from(number % 2 == 1)];
            let port = 10_000 + (number / 2 % 50_000) as u16;
            // The next call reports a refused datagram.
            let _ = socket.send_to(b"x", (*to, port));
        })
    })
}

/// Answers datagrams until `stop` is set. The reply has the bit that makes a DNS message a response.
fn answer(socket: &UdpSocket, stop: &AtomicBool) {
    let timeout = Some(Duration::from_millis(100));
    socket.set_read_timeout(timeout).expect("timeout");
    let mut buffer = [0; 512];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
            buffer[2] |= 0x80;
            let _ = socket.send_to(&buffer[..length], peer);
        }
    }
}

/// Sends queries, each from a new port, at most 5,000 a second. Returns the number of queries without a reply.
fn query(server: SocketAddr, count: u64) -> u64 {
    const RATE: f64 = 5_000.0;
    let mut waiting: VecDeque<(Instant, UdpSocket)> = VecDeque::new();
    let mut lost = 0;
    let start = Instant::now();
    let mut collect = |waiting: &mut VecDeque<(Instant, UdpSocket)>, all: bool| {
        while let Some((sent, socket)) = waiting.front() {
            if socket.recv(&mut [0; 512]).is_err() {
                if sent.elapsed() < Duration::from_secs(2) {
                    if !all {
                        return;
                    }
                    thread::sleep(Duration::from_millis(1));
                    continue;
                }
                lost += 1;
            }
            waiting.pop_front();
        }
    };
    for number in 0..count {
        while start.elapsed().as_secs_f64() * RATE < number as f64 {
            collect(&mut waiting, false);
            thread::sleep(Duration::from_micros(200));
        }
        let port = 10_000 + (number % 50_000) as u16;
        let local = SocketAddr::new(any(server).ip(), port);
        let Ok(socket) = UdpSocket::bind(local) else {
            panic!("port {port} is used");
        };
        socket.set_nonblocking(true).expect("nonblocking");
        socket.connect(server).expect("connect");
        let id = (number as u16).to_be_bytes();
        socket
            .send(&[id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1])
            .expect("send");
        waiting.push_back((Instant::now(), socket));
        if waiting.len() > 500 {
            collect(&mut waiting, false);
        }
    }
    collect(&mut waiting, true);
    lost
}

/// No flow is refused for a quota, and few because the table is full: where the search for flows to evict finds 128 sustained
/// ones in a row, one flow is refused. A quarter of the table may be sustained flows of a sandbox, and both measurements fill it.
#[track_caller]
pub(crate) fn assert_few_refusals(fixture: &Fixture) {
    assert_eq!(fixture.counted("drop_quota"), 0);
    let refused = fixture.counted("drop_table_full");
    assert!(refused <= 2 * 65_536 / 4 / 128, "{refused} are refused");
}

/// The full sizes of `NETPATH_GATE_QUERIES` and `NETPATH_GATE_FLOOD` are 1,200,000 and 95,000.
#[test]
fn serial_resolver_answers_every_query_while_another_sandbox_floods() {
    let count = size("NETPATH_GATE_QUERIES", 10_000);
    let rate = size("NETPATH_GATE_FLOOD", 20_000);
    let fixture = fixture();
    let resolver = fixture.sandbox("resolver", "network_a", &["5300:53/udp"]);
    let noisy = fixture.sandbox("noisy", "network_a", &[]);
    let sockets = resolver.netns.enter(|| {
        [at("0.0.0.0", 53), at(&resolver.v6, 53)].map(|at| {
            let socket = UdpSocket::bind(at).expect("bind");
            // Room for the queries that arrive while the test's thread waits for a processor.
            setsockopt(&socket, sockopt::RcvBufForce, &(8 << 20)).expect("buffer");
            socket
        })
    });
    let stop = AtomicBool::new(false);
    let [quiet, flooded] = thread::scope(|scope| {
        for socket in &sockets {
            scope.spawn(|| answer(socket, &stop));
        }
        let measure = || {
            let lost = [HOST.0, HOST.1]
                .map(|host| fixture.outside().enter(|| query(at(host, 5300), count / 2)));
            lost.into_iter().sum::<u64>()
        };
        let quiet = measure();
        let flooding = scope.spawn(|| flood(&noisy.netns, rate, &stop));
        let flooded = measure();
        stop.store(true, Ordering::Relaxed);
        assert!(flooding.join().expect("flood") > 0);
        [quiet, flooded]
    });
    let share = |lost: u64| lost as f64 / count as f64;
    println!("of {count} queries {quiet} are lost, and {flooded} during a flood");
    assert!(
        share(flooded) <= 0.001,
        "{flooded} of {count} queries are lost"
    );
    assert!(share(flooded) <= share(quiet) + 0.000_5);
    assert_few_refusals(&fixture);
    fixture.assert_clean(&[&resolver, &noisy]);
}

#[test]
fn requests_of_a_sandbox_get_their_replies_while_another_floods() {
    let fixture = fixture();
    let quiet = fixture.sandbox("quiet", "network_a", &[]);
    let noisy = fixture.sandbox("noisy", "network_a", &[]);
    let servers = fixture
        .outside()
        .enter(|| both(7000).map(|at| UdpSocket::bind(at).expect("bind")));
    let clients: Vec<UdpSocket> = quiet.netns.enter(|| {
        let sockets = both(7000)
            .into_iter()
            .flat_map(|to| (0..10).map(move |_| to));
        let sockets = sockets.map(|to| {
            let socket = UdpSocket::bind(any(to)).expect("bind");
            socket.send_to(b"?", to).expect("send");
            socket
        });
        sockets.collect()
    });
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&noisy.netns, 95_000, &stop));
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(1)
            || fixture.counted("evicted_half_open") < 20_000
        {
            assert!(
                start.elapsed() < Duration::from_secs(40),
                "the flood is slow"
            );
            thread::sleep(Duration::from_millis(200));
        }
        stop.store(true, Ordering::Relaxed);
        flooding.join().expect("flood");
    });
    for server in &servers {
        for _ in 0..10 {
            let (_, peer) = server.recv_from(&mut [0; 8]).expect("a request");
            server.send_to(b"!", peer).expect("reply");
        }
    }
    for client in &clients {
        let timeout = Some(Duration::from_secs(2));
        client.set_read_timeout(timeout).expect("timeout");
        assert!(
            client.recv(&mut [0; 8]).is_ok(),
            "a request without a reply"
        );
    }
    let status = fixture.status();
    let degraded = status["degraded"].as_array().expect("degraded");
    let evicted = degraded.iter().filter_map(|text| text.as_str());
    let evicted: Vec<_> = evicted.filter(|text| text.contains("evicted")).collect();
    assert!(
        matches!(evicted[..], [one] if one.contains("evicted_half_open")
            && one.contains("'noisy'") && !one.contains("'quiet'")),
        "{degraded:?}"
    );
    fixture.assert_clean(&[&quiet, &noisy]);
}

/// Opens connections one after the other; returns the share that succeeds within a second.
fn success(netns: &Netns, port: u16) -> f64 {
    const COUNT: u32 = 200;
    let limit = Duration::from_secs(1);
    let opened = netns.enter(|| {
        (0..COUNT)
            .filter(|number| {
                let host = if number % 2 == 0 { HOST.0 } else { HOST.1 };
                TcpStream::connect_timeout(&at(host, port), limit).is_ok()
            })
            .count()
    });
    opened as f64 / f64::from(COUNT)
}

#[test]
fn connections_succeed_during_a_syn_flood_from_outside() {
    let fixture = fixture();
    let victim = fixture.sandbox("victim", "network_a", &["8080:80"]);
    let other = fixture.sandbox("other", "network_a", &["8081:80"]);
    let listeners = [&victim, &other].map(|sandbox| {
        let open = || TcpListener::bind(at("::", 80)).expect("bind");
        sandbox.netns.enter(open)
    });
    for listener in listeners {
        // Ends with the test's process.
        thread::spawn(move || while listener.accept().is_ok() {});
    }
    let wire = Wire::open(fixture.outside(), "eth0");
    let host = mac_of(fixture.host(), "eth0");
    let frames: Vec<Vec<u8>> = (0..20_000_u32)
        .map(|number| {
            let [_, _, high, low] = number.to_be_bytes();
            let (from, to) = if number % 2 == 0 {
                (format!("198.18.{high}.{low}"), HOST.0)
            } else {
                (format!("2001:db8:18::{number:x}"), HOST.1)
            };
            let from: IpAddr = from.parse().expect("an address");
            Packet::ip(from, to.parse().expect("an address"))
                .eth(wire.mac, host)
                .tcp(1_024 + (number % 60_000) as u16, 8080, SYN)
                .build()
        })
        .collect();
    let stop = AtomicBool::new(false);
    let (to_victim, to_other) = thread::scope(|scope| {
        let flooding = scope.spawn(|| {
            repeat_until(&stop, 30_000, |number| {
                wire.send(&frames[(number % frames.len() as u64) as usize]);
            })
        });
        thread::sleep(Duration::from_millis(500));
        let results = (
            success(fixture.outside(), 8080),
            success(fixture.outside(), 8081),
        );
        stop.store(true, Ordering::Relaxed);
        assert!(flooding.join().expect("flood") > 5_000);
        results
    });
    println!("{to_victim} of the victim's and {to_other} of the other's connections succeed");
    assert!(to_victim >= 0.9, "{to_victim} of the victim's connections");
    assert!(to_other >= 0.99, "{to_other} of the other's connections");
}
