//! A server that says whom it saw, and clients that ask it; see `peer.py`.
use std::{fmt, thread, time::Duration};

use crate::{Netns, Process};
use serde_json::Value;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/harness/peer/peer.py");

/// How long a client waits for an answer that should come.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long a client waits for an answer that should not come.
const IMPATIENCE: Duration = Duration::from_millis(700);

/// How a client asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By TCP.
    Tcp,
    /// By a connected UDP socket.
    Udp,
    /// By an unconnected UDP socket.
    SendTo,
}

impl How {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::SendTo];
}

/// A question to a server.
#[derive(Clone, Debug)]
pub struct Question {
    how: How,
    address: String,
    port: u16,
    bind: (String, u16),
}

impl Question {
    /// To a port of an address.
    pub fn new(how: How, address: &str, port: u16) -> Self {
        Self {
            how,
            address: address.to_owned(),
            port,
            bind: (String::new(), 0),
        }
    }

    /// From this local port.
    pub fn source_port(mut self, port: u16) -> Self {
        self.bind.1 = port;
        self
    }

    /// From this local address.
    pub fn source_address(mut self, address: &str) -> Self {
        address.clone_into(&mut self.bind.0);
        self
    }

    /// Where it goes.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn word(&self) -> String {
        let how = match self.how {
            How::Tcp => "tcp",
            How::Udp => "udp",
            How::SendTo => "sendto",
        };
        let (address, port) = &self.bind;
        format!(
            "{how},{},{},{},{}",
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

/// Questions to a port of both addresses, by TCP and by UDP.
pub fn both_ways(addresses: [&str; 2], port: u16) -> Vec<Question> {
    let how = [How::Tcp, How::Udp].into_iter();
    how.flat_map(|how| addresses.map(|address| Question::new(how, address, port)))
        .collect()
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())
    }
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Which server it was.
    pub name: String,
    /// Whom it saw.
    pub peer: String,
    /// The port it saw.
    pub peer_port: u16,
    /// Its own port.
    pub port: u16,
    /// Whom the client takes for the server: where its datagram came from, or who its connection's peer is.
    pub from: String,
    /// The port of that.
    pub from_port: u16,
    /// The client's local port.
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

/// Asks all questions at the same time.
#[track_caller]
pub fn ask_within(
    netns: &Netns,
    questions: &[Question],
    limit: Duration,
) -> Vec<Result<Answer, String>> {
    let mut command: Vec<String> = ["python3", SCRIPT, "ask"].map(str::to_owned).into();
    command.push(limit.as_secs_f64().to_string());
    command.extend(questions.iter().map(Question::word));
    let text = netns.run(&command).success();
    let answers: Vec<Value> = serde_json::from_str(&text).expect("answers");
    assert_eq!(answers.len(), questions.len());
    answers.iter().map(answer).collect()
}

/// Asks; there must be an answer.
#[track_caller]
pub fn ask(netns: &Netns, question: &Question) -> Answer {
    let answers = ask_all(netns, std::slice::from_ref(question));
    answers.into_iter().next().expect("an answer")
}

/// Asks all questions at the same time; there must be an answer to each.
#[track_caller]
pub fn ask_all(netns: &Netns, questions: &[Question]) -> Vec<Answer> {
    let answers = ask_within(netns, questions, PATIENCE);
    let failed: Vec<String> = questions
        .iter()
        .zip(&answers)
        .filter_map(|(question, answer)| {
            let error = answer.as_ref().err()?;
            Some(format!("{question}: {error}"))
        })
        .collect();
    assert!(
        failed.is_empty(),
        "in {}, {} of {}: {failed:#?}",
        netns.name(),
        failed.len(),
        questions.len()
    );
    answers.into_iter().flatten().collect()
}

/// Asks all questions at the same time; there must be no answer to any.
#[track_caller]
pub fn assert_no_answer(netns: &Netns, questions: &[Question]) {
    let answers = ask_within(netns, questions, IMPATIENCE);
    let answered: Vec<_> = questions
        .iter()
        .zip(&answers)
        .filter_map(|(question, answer)| {
            let answer = answer.as_ref().ok()?;
            Some(format!("{question}: {answer:?}"))
        })
        .collect();
    assert!(answered.is_empty(), "in {}: {answered:#?}", netns.name());
}

/// Sends echo requests one after the other; returns how many were answered.
#[track_caller]
pub fn ping(netns: &Netns, address: &str, identifier: u16, count: u32) -> u32 {
    let numbers = [u32::from(identifier), count, 64].map(|number| number.to_string());
    let mut command = vec!["ping", address];
    command.extend(numbers.iter().map(String::as_str));
    command.push("0.7");
    let answered = script(netns, &command).as_u64();
    u32::try_from(answered.expect("a number")).expect("small")
}

/// Sends echo requests to addresses, to all at the same time; whether any is answered must be as said.
#[track_caller]
pub fn assert_pings(netns: &Netns, addresses: [&str; 2], answered: bool) {
    let counts = thread::scope(|scope| {
        let pings = addresses.map(|address| scope.spawn(move || ping(netns, address, 9, 1)));
        pings.map(|ping| ping.join().expect("ping"))
    });
    for (address, count) in addresses.into_iter().zip(counts) {
        assert_eq!(
            count > 0,
            answered,
            "echo from {} to {address}",
            netns.name()
        );
    }
}

/// Starts a server for [`exchange`].
#[track_caller]
pub fn serve_blobs(netns: &Netns, port: u16) -> Process {
    let mut server = netns.start(&["python3", SCRIPT, "blobs", &port.to_string()]);
    server.wait_for_output("serving");
    server
}

/// Moves data to a server and back; fails if it does not arrive as it was sent.
#[track_caller]
pub fn exchange(netns: &Netns, address: &str, port: u16, megabytes: u32) {
    transfer(netns, address, port, megabytes, "1");
}

/// Moves data to a server only.
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

/// Opens new flows to addresses without end.
#[track_caller]
pub fn flood(netns: &Netns, addresses: &[&str]) -> Process {
    let mut command = vec!["python3", SCRIPT, "flood"];
    command.extend(addresses);
    let mut process = netns.start(&command);
    process.wait_for_output("flooding");
    process
}

/// Sends a datagram that may not be fragmented until the stack refuses it; returns the error and the path's MTU.
#[track_caller]
pub fn send_unfragmented(netns: &Netns, address: &str, size: u32) -> (Option<String>, Option<u64>) {
    let outcome = script(netns, &["datagram", address, "9", &size.to_string()]);
    (
        outcome["error"].as_str().map(str::to_owned),
        outcome["mtu"].as_u64(),
    )
}

/// Sends frames that no stack would send: a list of packets in the language of scapy.
#[track_caller]
pub fn craft(netns: &Netns, device: &str, frames: &str) {
    let program =
        format!("from scapy.all import *\nconf.verb = 0\nsendp([{frames}], iface={device:?})");
    // Scapy belongs to the distribution's Python, which need not be the first one.
    netns.run(&["/usr/bin/python3", "-c", &program]).success();
}

#[track_caller]
fn script(netns: &Netns, arguments: &[&str]) -> Value {
    let mut command = vec!["python3", SCRIPT];
    command.extend(arguments);
    let text = netns.run(&command).success();
    serde_json::from_str(&text).expect("an answer")
}

fn answer(value: &Value) -> Result<Answer, String> {
    if let Some(error) = value["error"].as_str() {
        return Err(error.to_owned());
    }
    let text = |key: &str| value[key].as_str().expect(key).to_owned();
    let port = |key: &str| {
        let number = value[key].as_u64().expect(key);
        u16::try_from(number).expect(key)
    };
    Ok(Answer {
        name: text("name"),
        peer: text("peer"),
        peer_port: port("peer_port"),
        port: port("port"),
        from: text("from"),
        from_port: port("from_port"),
        own_port: port("own_port"),
    })
}
