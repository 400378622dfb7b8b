//! Small requests and replies with the size of HTTP/1.1 messages, over persistent connections or one connection each.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::{AsFd, AsRawFd},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::{
        epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
        socket::{
            AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, connect as open,
            listen, setsockopt, socket, sockopt,
        },
    },
};

use super::{Ends, WARM_UP, cores, stay_on};

const REQUEST: &[u8] = b"GET /index.html HTTP/1.1\r\nHost: bench.example\r\nAccept: */*\r\n\r\n";
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 64\r\n\r\n\
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Number of concurrent connections.
const CONNECTIONS: usize = 32;

/// Requests per second over persistent connections.
pub fn keep_alive(ends: &Ends<'_>, time: Duration) -> f64 {
    run(ends, time, false)
}

/// Requests per second over a new connection each. The server closes first, as HTTP servers do, so that the client can
/// reuse the port.
pub fn connect(ends: &Ends<'_>, time: Duration) -> f64 {
    run(ends, time, true)
}

fn run(ends: &Ends<'_>, time: Duration, once: bool) -> f64 {
    let listener = ends.server.enter(|| listener(ends.listen));
    let over = AtomicBool::new(false);
    let (client, server) = cores();
    let replies = thread::scope(|scope| {
        scope.spawn(|| {
            stay_on(server);
            serve(&listener, once, &over);
        });
        let client_thread = scope.spawn(|| {
            ends.client.enter(|| {
                stay_on(client);
                ask(ends, time, once)
            })
        });
        let replies = client_thread.join();
        over.store(true, Ordering::Relaxed);
        replies.expect("client")
    });
    replies as f64 / time.as_secs_f64()
}

/// The standard library's backlog is too short for this many concurrent connections.
fn listener(address: SocketAddr) -> TcpListener {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(family(address), SockType::Stream, flags, None).expect("socket");
    setsockopt(&descriptor, sockopt::ReuseAddr, &true).expect("SO_REUSEADDR");
    bind(descriptor.as_raw_fd(), &SockaddrStorage::from(address)).expect("bind");
    listen(&descriptor, Backlog::new(4096).expect("backlog")).expect("listen");
    TcpListener::from(descriptor)
}

/// An open connection, and the number of received bytes of the expected message.
struct Connection {
    stream: TcpStream,
    bytes: usize,
}

/// Connections by descriptor, and an epoll instance.
struct Loop {
    epoll: Epoll,
    connections: Vec<Option<Connection>>,
}

impl Loop {
    fn new() -> Self {
        Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll"),
            connections: Vec::new(),
        }
    }

    fn watch(&self, descriptor: impl AsFd, events: EpollFlags) {
        let number = descriptor.as_fd().as_raw_fd();
        let event = EpollEvent::new(events, number as u64);
        self.epoll.add(descriptor, event).expect("epoll");
    }

    fn insert(&mut self, stream: TcpStream, events: EpollFlags) {
        self.watch(&stream, events);
        let number = stream.as_raw_fd() as usize;
        if self.connections.len() <= number {
            self.connections.resize_with(number + 1, || None);
        }
        self.connections[number] = Some(Connection { stream, bytes: 0 });
    }

    /// Waits for ready descriptors.
    fn ready(&self, events: &mut [EpollEvent]) -> usize {
        match self.epoll.wait(events, EpollTimeout::from(50_u8)) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => panic!("epoll: {error}"),
        }
    }
}

/// The result of reading a connection.
#[derive(PartialEq, Eq)]
enum Progress {
    /// The message is incomplete.
    Partial,
    /// The message is complete.
    Whole,
    /// The peer has closed the connection.
    Closed,
}

impl Connection {
    fn read(&mut self, expected: usize) -> Progress {
        let mut buffer = [0; 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => Progress::Closed,
            Ok(count) => {
                self.bytes += count;
                if self.bytes < expected {
                    return Progress::Partial;
                }
                self.bytes = 0;
                Progress::Whole
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Progress::Partial,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Progress::Closed,
            Err(error) => panic!("read: {error}"),
        }
    }

    fn write(&mut self, message: &[u8]) {
        // Much smaller than any socket buffer.
        self.stream.write_all(message).expect("write");
    }
}

fn serve(listener: &TcpListener, once: bool, over: &AtomicBool) {
    let mut state = Loop::new();
    state.watch(listener, EpollFlags::EPOLLIN);
    let mut events = [EpollEvent::empty(); 64];
    while !over.load(Ordering::Relaxed) {
        let count = state.ready(&mut events);
        for event in &events[..count] {
            let number = event.data() as usize;
            if number == listener.as_raw_fd() as usize {
                accept(listener, &mut state);
                continue;
            }
            let place = &mut state.connections[number];
            let Some(connection) = place else { continue };
            match connection.read(REQUEST.len()) {
                Progress::Partial => {}
                Progress::Whole => {
                    connection.write(ANSWER);
                    if once {
                        *place = None;
                    }
                }
                Progress::Closed => *place = None,
            }
        }
    }
}

fn accept(listener: &TcpListener, state: &mut Loop) {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                prepare(&stream);
                state.insert(stream, EpollFlags::EPOLLIN);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            // The client has closed before the server accepted.
            Err(error) if error.kind() == ErrorKind::ConnectionAborted => {}
            Err(error) => panic!("accept: {error}"),
        }
    }
}

fn ask(ends: &Ends<'_>, time: Duration, once: bool) -> u64 {
    let mut state = Loop::new();
    for _ in 0..CONNECTIONS {
        begin(&mut state, ends);
    }
    let mut events = [EpollEvent::empty(); 64];
    let start = Instant::now() + WARM_UP;
    let end = start + time;
    let mut replies = 0;
    loop {
        let count = state.ready(&mut events);
        let now = Instant::now();
        if now >= end {
            return replies;
        }
        for event in &events[..count] {
            let number = event.data() as usize;
            let Some(connection) = &mut state.connections[number] else {
                continue;
            };
            if event.events().contains(EpollFlags::EPOLLOUT) {
                // The connection is established.
                let mut readable = EpollEvent::new(EpollFlags::EPOLLIN, event.data());
                state
                    .epoll
                    .modify(&connection.stream, &mut readable)
                    .expect("epoll");
                connection.write(REQUEST);
                continue;
            }
            match connection.read(ANSWER.len()) {
                Progress::Partial => {}
                Progress::Whole => {
                    replies += u64::from(now >= start);
                    if !once {
                        connection.write(REQUEST);
                    }
                }
                Progress::Closed => {
                    assert!(once, "the server has closed a connection");
                    state.connections[number] = None;
                    begin(&mut state, ends);
                }
            }
        }
    }
}

fn family(address: SocketAddr) -> AddressFamily {
    match address {
        SocketAddr::V4(_) => AddressFamily::Inet,
        SocketAddr::V6(_) => AddressFamily::Inet6,
    }
}

/// Starts to open a connection without waiting.
fn begin(state: &mut Loop, ends: &Ends<'_>) {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let descriptor = socket(family(ends.target), SockType::Stream, flags, None).expect("socket");
    setsockopt(&descriptor, sockopt::IpBindAddressNoPort, &true).expect("bind without port");
    let source = SockaddrStorage::from(SocketAddr::new(ends.source, 0));
    bind(descriptor.as_raw_fd(), &source).expect("bind");
    match open(descriptor.as_raw_fd(), &SockaddrStorage::from(ends.target)) {
        Ok(()) | Err(Errno::EINPROGRESS) => {}
        Err(error) => panic!("connect to {}: {error}", ends.target),
    }
    let stream = TcpStream::from(descriptor);
    stream.set_nodelay(true).expect("TCP_NODELAY");
    state.insert(stream, EpollFlags::EPOLLOUT);
}

fn prepare(stream: &TcpStream) {
    stream.set_nonblocking(true).expect("O_NONBLOCK");
    stream.set_nodelay(true).expect("TCP_NODELAY");
}
