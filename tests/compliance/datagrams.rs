//! UDP sockets of a test in a namespace.

use std::{
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath_tests::Netns;

/// How long a datagram that should come may take.
const PATIENCE: Duration = Duration::from_secs(4);
/// How long one that should not come is waited for.
const IMPATIENCE: Duration = Duration::from_millis(250);

/// A socket of texts.
pub struct Datagrams {
    /// Itself.
    pub socket: UdpSocket,
}

impl Datagrams {
    /// Binds one; `::` is every address of both families, and port 0 any.
    #[track_caller]
    pub fn bind(netns: &Netns, address: &str, port: u16) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        let socket = netns.enter(|| UdpSocket::bind((address, port)));
        Self {
            socket: socket.expect("a socket"),
        }
    }

    /// Sends a text.
    #[track_caller]
    pub fn send(&self, (address, port): (&str, u16), text: &str) {
        let address = address.parse().expect("an address");
        // A socket of both families knows IPv4 addresses by their mapped form.
        let mapped = match (address, self.socket.local_addr().expect("bound").is_ipv6()) {
            (IpAddr::V4(v4), true) => IpAddr::V6(v4.to_ipv6_mapped()),
            (other, _) => other,
        };
        let sent = self.socket.send_to(text.as_bytes(), (mapped, port));
        sent.unwrap_or_else(|error| panic!("{text} to {address}: {error}"));
    }

    /// Waits for a text; also returns the port it came from.
    #[track_caller]
    pub fn receive(&self, what: &str) -> (String, u16) {
        let received = self.try_receive(PATIENCE);
        received.unwrap_or_else(|| panic!("not received: {what}"))
    }

    /// Waits a moment for what should not come.
    #[track_caller]
    pub fn assert_silent(&self) {
        assert_eq!(self.try_receive(IMPATIENCE), None, "received");
    }

    /// What comes within a time, if anything does.
    pub fn try_receive(&self, limit: Duration) -> Option<(String, u16)> {
        self.socket
            .set_read_timeout(Some(limit))
            .expect("a timeout");
        let mut buffer = vec![0; 65_535];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    return Some((text, from.port()));
                }
                // Errors about what was sent earlier are told once.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }
}
