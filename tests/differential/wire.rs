//! Raw sockets at the ends of a node, and barrier packets that mark the end of a step.
//!
//! All packets between two ends are processed in the soft interrupts of one processor, through queues that keep their
//! order. A barrier packet that the same thread sends after a packet, over as many devices, therefore arrives after
//! everything that the packet has caused. No step waits for a time.

use std::{
    os::fd::{AsFd, AsRawFd, OwnedFd},
    time::{Duration, Instant},
};

use netpath_tests::Netns;
use nix::{
    ifaddrs::getifaddrs,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CpuSet, sched_getcpu, sched_setaffinity},
    sys::socket::{
        AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvfrom, send,
        setsockopt, socket, sockopt,
    },
    unistd::Pid,
};

/// The kernel's mark of a frame that is addressed to the receiving device.
const PACKET_HOST: u8 = 0;

/// One end of a link.
pub struct Tap {
    socket: OwnedFd,
}

impl Tap {
    /// Opens a device of a namespace. The namespace's own stack no longer receives what the device receives.
    pub fn open(netns: &Netns, device: &str) -> Self {
        netns.exec("nft add table netdev oracle");
        let chain =
            format!("{{ type filter hook ingress device \"{device}\" priority 0; policy drop; }}");
        netns
            .run(&["nft", "add", "chain", "netdev", "oracle", "silent", &chain])
            .success();
        let socket = netns.enter(|| {
            let mut devices = getifaddrs().expect("devices");
            let link: LinkAddr = devices
                .find_map(|entry| {
                    let link = *entry.address?.as_link_addr()?;
                    (entry.interface_name == device).then_some(link)
                })
                .expect("the device");
            let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
            let protocol = SockProtocol::EthAll;
            let socket = socket(AddressFamily::Packet, SockType::Raw, flags, protocol);
            let socket = socket.expect("packet socket");
            bind(socket.as_raw_fd(), &link).expect("bind");
            setsockopt(&socket, sockopt::RcvBuf, &(4 << 20)).expect("receive buffer");
            socket
        });
        Self { socket }
    }

    /// Sends a frame.
    pub fn send(&self, frame: &[u8]) {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).expect("send");
        assert_eq!(sent, frame.len());
    }

    /// The next frame addressed to this end, if one has arrived.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut buffer = [0; 2048];
        loop {
            let (length, from) = recvfrom::<LinkAddr>(self.socket.as_raw_fd(), &mut buffer).ok()?;
            if from.is_some_and(|from| from.pkttype() == PACKET_HOST) {
                return Some(buffer[..length].to_vec());
            }
        }
    }

    /// Waits until a frame arrives; false after `limit`.
    pub fn wait(&self, limit: Duration) -> bool {
        let start = Instant::now();
        let milliseconds = PollTimeout::try_from(limit).expect("a short time");
        let mut ready = [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)];
        poll(&mut ready, milliseconds).is_ok_and(|ready| ready > 0) && start.elapsed() < limit
    }
}

/// Binds this thread to its current processor, which the order of [barrier packets](self) requires.
pub fn bind_to_processor() {
    let mut set = CpuSet::new();
    set.set(sched_getcpu().expect("processor"))
        .expect("processor");
    sched_setaffinity(Pid::from_raw(0), &set).expect("affinity");
}
