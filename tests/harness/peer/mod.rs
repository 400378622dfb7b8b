//! A server that reports the client address it sees, and its clients. Both are commands of `peer.py`.
use std::{fmt, thread, time::Duration};

use crate::{Netns, Process};
use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/peer/peer.py");

/// Timeout of a request that must get a reply.
const REPLY_TIMEOUT: Duration = Duration::from_secs(4);
/// Timeout of a request that must not get a reply.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(700);

/// The socket type of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketType {
    /// TCP.
    Tcp,
    /// A connected UDP socket.
    Udp,
    /// An unconnected UDP socket.
    SendTo,
}

impl SocketType {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::SendTo];
}

/// A request to a server.
#[derive(Clone, Debug)]
pub struct Request {
    socket_type: SocketType,
    address: String,
    port: u16,
    bind: (String, u16),
}

impl Request {
    /// A request to an address and port.
    pub fn new(socket_type: SocketType, address: &str, port: u16) -> Self {
        Self {
            socket_type,
            address: address.to_owned(),
            port,
            bind: (String::new(), 0),
        }
    }

    /// Sets the client's port.
    pub fn source_port(mut self, port: u16) -> Self {
        self.bind.1 = port;
        self
    }

    /// Sets the client's address.
    pub fn source_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.bind.0);
        self
    }

    /// The address of the server.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn word(&self) -> String {
        let socket_type = match self.socket_type {
            SocketType::Tcp => "tcp",
            SocketType::Udp => "udp",
            SocketType::SendTo => "sendto",
        };
        let (address, port) = &self.bind;
        format!(
            "{socket_type},{},{},{},{}",
            self.address,
            self.port,
            address,
            if *port == 0 {
                String::new()
            } else {
                port.to_string()
            }
        )
    }
}

/// Requests to a port of both addresses, by TCP and by connected UDP.
pub fn tcp_and_udp_requests(addresses: [&str; 2], port: u16) -> Vec<Request> {
    let socket_type = [SocketType::Tcp, SocketType::Udp].into_iter();
    socket_type
        .flat_map(|socket_type| addresses.map(|address| Request::new(socket_type, address, port)))
        .collect()
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())
    }
}

/// The reply of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Name of the server.
    pub name: String,
    /// The client's address as the server sees it.
    pub peer: String,
    /// The client's port as the server sees it.
    pub peer_port: u16,
    /// The server's port.
    pub port: u16,
    /// The server's address as the client sees it: the source of the datagram, or the peer of the connection.
    pub from: String,
    /// The server's port as the client sees it.
    pub from_port: u16,
    /// The client's port.
    pub own_port: u16,
}

/// Starts a server in a namespace; `ports` are `PORT` or `FIRST-LAST`, for both TCP and UDP.
#[track_caller]
pub fn serve(netns: &Netns, name: &str, ports: &[&str]) -> Process {
    let mut command = vec!["python3", SCRIPT, "serve", name];
    command.extend(ports);
    let mut server = netns.start(&command);
    server.wait_for_output("serving");
    server
}

/// Sends all requests at the same time and waits for replies until the timeout.
#[track_caller]
pub fn send_requests_within(
    netns: &Netns,
    requests: &[Request],
    limit: Duration,
) -> Vec<Result<Reply, String>> {
    let mut command: Vec<String> = ["python3", SCRIPT, "request"].map(str::to_owned).into();
    command.push(limit.as_secs_f64().to_string());
    command.extend(requests.iter().map(Request::word));
    let text = netns.run(&command).success();
    let replies: Vec<Value> = serde_json::from_str(&text).expect("replies");
    assert_eq!(replies.len(), requests.len());
    replies.iter().map(parse_reply).collect()
}

/// Sends a request, which must get a reply.
#[track_caller]
pub fn send_request(netns: &Netns, request: &Request) -> Reply {
    let replies = send_requests(netns, std::slice::from_ref(request));
    replies.into_iter().next().expect("a reply")
}

/// Sends all requests at the same time; each must get a reply.
#[track_caller]
pub fn send_requests(netns: &Netns, requests: &[Request]) -> Vec<Reply> {
    let replies = send_requests_within(netns, requests, REPLY_TIMEOUT);
    let failed: Vec<String> = requests
        .iter()
        .zip(&replies)
        .filter_map(|(request, reply)| {
            let error = reply.as_ref().err()?;
            Some(format!("{request}: {error}"))
        })
        .collect();
    assert!(
        failed.is_empty(),
        "in {}, {} of {}: {failed:#?}",
        netns.name(),
        failed.len(),
        requests.len()
    );
    replies.into_iter().flatten().collect()
}

/// Sends all requests at the same time; none may get a reply.
#[track_caller]
pub fn assert_no_reply(netns: &Netns, requests: &[Request]) {
    let replies = send_requests_within(netns, requests, SILENCE_TIMEOUT);
    let replied: Vec<_> = requests
        .iter()
        .zip(&replies)
        .filter_map(|(request, reply)| {
            let reply = reply.as_ref().ok()?;
            Some(format!("{request}: {reply:?}"))
        })
        .collect();
    assert!(replied.is_empty(), "in {}: {replied:#?}", netns.name());
}

/// Sends echo requests, one after the other; returns the number of replies.
#[track_caller]
pub fn ping(netns: &Netns, address: &str, identifier: u16, count: u32) -> u32 {
    let numbers = [u32::from(identifier), count, 64].map(|number| number.to_string());
    let mut command = vec!["ping", address];
    command.extend(numbers.iter().map(String::as_str));
    command.push("0.7");
    let replies = script(netns, &command).as_u64();
    u32::try_from(replies.expect("a number")).expect("small")
}

/// Sends an echo request to each address, all at the same time. Fails unless each gets a reply if `reachable`
/// is true, and none otherwise.
#[track_caller]
pub fn assert_pings(netns: &Netns, addresses: [&str; 2], reachable: bool) {
    let counts = thread::scope(|scope| {
        let pings = addresses.map(|address| scope.spawn(move || ping(netns, address, 9, 1)));
        pings.map(|ping| ping.join().expect("ping"))
    });
    for (address, count) in addresses.into_iter().zip(counts) {
        assert_eq!(
            count > 0,
            reachable,
            "echo from {} to {address}",
            netns.name()
        );
    }
}

/// Starts a server for [`exchange`] and [`upload`].
#[track_caller]
pub fn serve_blobs(netns: &Netns, port: u16) -> Process {
    let mut server = netns.start(&["python3", SCRIPT, "blobs", &port.to_string()]);
    server.wait_for_output("serving");
    server
}

/// Sends data to a server and back; fails if it is not received as it was sent.
#[track_caller]
pub fn exchange(netns: &Netns, address: &str, port: u16, megabytes: u32) {
    transfer(netns, address, port, megabytes, "1");
}

/// Sends data to a server only.
#[track_caller]
pub fn upload(netns: &Netns, address: &str, port: u16, megabytes: u32) {
    transfer(netns, address, port, megabytes, "0");
}

#[track_caller]
fn transfer(netns: &Netns, address: &str, port: u16, megabytes: u32, back: &str) {
    let words = [port.to_string(), megabytes.to_string()];
    let command = ["exchange", address, &words[0], &words[1], back];
    let outcome = script(netns, &command);
    assert_eq!(outcome, serde_json::json!([true, true]), "to {address}");
}

/// Starts a process that opens flows to addresses without limit.
#[track_caller]
pub fn flood(netns: &Netns, addresses: &[&str]) -> Process {
    let mut command = vec!["python3", SCRIPT, "flood"];
    command.extend(addresses);
    let mut process = netns.start(&command);
    process.wait_for_output("flooding");
    process
}

/// Sends datagrams with DF until the stack refuses one; returns the error and the path MTU.
#[track_caller]
pub fn send_unfragmented(netns: &Netns, address: &str, size: u32) -> (Option<String>, Option<u64>) {
    let outcome = script(netns, &["datagram", address, "9", &size.to_string()]);
    (
        outcome["error"].as_str().map(str::to_owned),
        outcome["mtu"].as_u64(),
    )
}

/// Sends frames that no network stack sends: a list of packets in the syntax of scapy.
#[track_caller]
pub fn craft(netns: &Netns, device: &str, frames: &str) {
    let program =
        format!("from scapy.all import *\nconf.verb = 0\nsendp([{frames}], iface={device:?})");
    // Scapy is installed for the distribution's Python, which need not be the first in PATH.
    netns.run(&["/usr/bin/python3", "-c", &program]).success();
}

#[track_caller]
fn script(netns: &Netns, arguments: &[&str]) -> Value {
    let mut command = vec!["python3", SCRIPT];
    command.extend(arguments);
    let text = netns.run(&command).success();
    serde_json::from_str(&text).expect("a reply")
}

fn parse_reply(value: &Value) -> Result<Reply, String> {
    if let Some(error) = value["error"].as_str() {
        return Err(error.to_owned());
    }
    let text = |key: &str| value[key].as_str().expect(key).to_owned();
    let port = |key: &str| {
        let number = value[key].as_u64().expect(key);
        u16::try_from(number).expect(key)
    };
    Ok(Reply {
        name: text("name"),
        peer: text("peer"),
        peer_port: port("peer_port"),
        port: port("port"),
        from: text("from"),
        from_port: port("from_port"),
        own_port: port("own_port"),
    })
}
