//! UDP sockets in a namespace.

use std::{
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use netpath_tests::Netns;
use nix::sys::socket::{setsockopt, sockopt};

/// Receive buffer in bytes. The default has room for about 270 datagrams, fewer than a test sends while the scheduler of a
/// loaded machine does not run its receiver.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Timeout of an expected datagram.
const DATAGRAM_TIMEOUT: Duration = Duration::from_secs(4);
/// Time in which an unwanted datagram would arrive.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(250);

/// A UDP socket that sends and receives text.
pub struct Datagrams {
    /// The socket.
    pub socket: UdpSocket,
}

impl Datagrams {
    /// Binds a socket; `::` means every address of both families, and port 0 any port.
    #[track_caller]
    pub fn bind(netns: &Netns, address: &str, port: u16) -> Self {
        let address: IpAddr = address.parse().expect("an address");
        let socket = netns.enter(|| UdpSocket::bind((address, port)));
        let socket = socket.expect("a socket");
        setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER).expect("SO_RCVBUFFORCE");
        Self { socket }
    }

    /// Sends a text.
    #[track_caller]
    pub fn send(&self, (address, port): (&str, u16), text: &str) {
        let address = address.parse().expect("an address");
        // A dual-stack socket uses IPv4-mapped addresses.
        let mapped = match (address, self.socket.local_addr().expect("bound").is_ipv6()) {
            (IpAddr::V4(v4), true) => IpAddr::V6(v4.to_ipv6_mapped()),
            (other, _) => other,
        };
        let sent = self.socket.send_to(text.as_bytes(), (mapped, port));
        sent.unwrap_or_else(|error| panic!("{text} to {address}: {error}"));
    }

    /// Waits for a text; also returns the source port.
    #[track_caller]
    pub fn receive(&self, what: &str) -> (String, u16) {
        let received = self.try_receive(DATAGRAM_TIMEOUT);
        received.unwrap_or_else(|| panic!("not received: {what}"))
    }

    /// Fails if a datagram arrives.
    #[track_caller]
    pub fn assert_silent(&self) {
        assert_eq!(self.try_receive(SILENCE_TIMEOUT), None, "received");
    }

    /// The datagram that arrives within a time, if any.
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
                // The socket reports an ICMP error about an earlier datagram once.
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => {}
                Err(_) => return None,
            }
        }
    }
}
