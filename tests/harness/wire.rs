//! Ethernet frames sent and received on a device.

use std::{
    fmt::Write as _,
    mem,
    os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{MsgFlags, recv, send},
};

use crate::{
    Netns,
    packet::{Packet, difference},
};

/// Timeout of an expected frame.
const FRAME_TIMEOUT: Duration = Duration::from_secs(4);
/// Time in which an unwanted frame would arrive.
const SILENCE_TIMEOUT: Duration = Duration::from_millis(250);
/// Bytes of the MAC addresses, which comparisons ignore.
const MACS: usize = 12;

/// A packet socket on a device of a namespace.
pub struct Wire {
    socket: OwnedFd,
    name: String,
    /// The MAC address of the device.
    pub mac: [u8; 6],
    /// Frames received while waiting for another one, for the failure message.
    others: Mutex<Vec<Vec<u8>>>,
}

impl Wire {
    /// Opens the device; frames are received from now on.
    #[track_caller]
    pub fn open(netns: &Netns, device: &str) -> Self {
        let socket = netns.enter(|| {
            let index = if_nametoindex(device).expect("a device");
            packet_socket(i32::try_from(index).expect("small")).expect("a packet socket")
        });
        Self {
            socket,
            name: format!("{device} of {}", netns.name()),
            mac: mac_of(netns, device),
            others: Mutex::default(),
        }
    }

    /// Sends a frame.
    #[track_caller]
    pub fn send(&self, frame: &[u8]) {
        while let Err(error) = send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            assert_eq!(error, Errno::ENOBUFS, "{}", self.name);
        }
    }

    /// Waits for a frame that equals the expected packet except for its MAC addresses.
    #[track_caller]
    pub fn expect(&self, what: &str, expected: &Packet) {
        let expected = expected.build();
        let found = self.wait(FRAME_TIMEOUT, |frame| frame[MACS..] == expected[MACS..]);
        if found.is_none() {
            let mut text = String::new();
            for frame in self.others().iter().rev().take(6) {
                let mut frame = frame.clone();
                frame[..MACS].copy_from_slice(&expected[..MACS]);
                let _ = writeln!(text, "    instead:\n{}", difference(&expected, &frame));
            }
            panic!("{what}: not seen at {}\n{text}", self.name);
        }
        self.others().clear();
    }

    /// Fails if an unwanted frame arrives within a quarter of a second.
    #[track_caller]
    pub fn expect_nothing(&self, what: &str, unwanted: impl Fn(&[u8]) -> bool) {
        let found = self.wait(SILENCE_TIMEOUT, unwanted);
        assert_eq!(found, None, "{what}: seen at {}", self.name);
    }

    /// Waits for the first frame that satisfies a condition.
    pub fn wait(&self, limit: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + limit;
        let mut buffer = vec![0; 70_000];
        loop {
            let left = end.saturating_duration_since(Instant::now()).as_millis();
            let timeout = PollTimeout::try_from(left).expect("short");
            let mut polled = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
            if poll(&mut polled, timeout).expect("poll") == 0 {
                return None;
            }
            let length = recv(self.socket.as_raw_fd(), &mut buffer, MsgFlags::empty());
            let frame = &buffer[..length.expect("a frame")];
            if frame.len() > MACS && wanted(frame) {
                return Some(frame.to_vec());
            }
            self.others().push(frame.to_vec());
        }
    }

    fn others(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.others.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Discards all frames received so far.
    pub fn drain(&self) {
        while self.wait(Duration::ZERO, |_| true).is_some() {}
        self.others().clear();
    }
}

/// A packet socket that receives all frames from other hosts.
fn packet_socket(index: i32) -> Result<OwnedFd, Errno> {
    const EVERYTHING: u16 = (libc::ETH_P_ALL as u16).to_be();
    const IGNORE_OUTGOING: i32 = 23;
    // SAFETY: a plain system call; the descriptor is owned from here on.
    let socket = unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let number = Errno::result(libc::socket(libc::AF_PACKET, kind, 0))?;
        OwnedFd::from_raw_fd(number)
    };
    let on: i32 = 1;
    // SAFETY: all zeroes is a valid value of this structure.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = EVERYTHING;
    address.sll_ifindex = index;
    // SAFETY: both calls read as many bytes of a local variable as they are told.
    unsafe {
        Errno::result(libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            IGNORE_OUTGOING,
            (&raw const on).cast(),
            size_of_val(&on) as u32,
        ))?;
        Errno::result(libc::bind(
            socket.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as u32,
        ))?;
    }
    Ok(socket)
}

/// The MAC address of a device.
#[track_caller]
pub fn mac_of(netns: &Netns, device: &str) -> [u8; 6] {
    let links = netns.exec(&format!("ip -o link show dev {device}"));
    let mut words = links.split_ascii_whitespace();
    words.find(|word| *word == "link/ether");
    let octets = words.next().expect("a MAC address").split(':');
    let octets: Vec<u8> = octets
        .map(|octet| u8::from_str_radix(octet, 16).expect("a MAC address"))
        .collect();
    octets.try_into().expect("a MAC address")
}

/// Frames given in the syntax of scapy, as bytes.
#[track_caller]
pub fn scapy_frames(host: &Netns, frames: &str) -> Vec<Vec<u8>> {
    let program =
        format!("from scapy.all import *\nfor frame in [{frames}]: print(bytes(frame).hex())");
    let text = host.run(&["/usr/bin/python3", "-c", &program]).success();
    let digits = |line: &str| {
        let pairs = (0..line.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&line[at..at + 2], 16).expect("hexadecimal"))
            .collect()
    };
    text.lines().map(digits).collect()
}
