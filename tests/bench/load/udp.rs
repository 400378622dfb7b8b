//! Small UDP packets at the highest rate of one core.

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use super::{Ends, WARM_UP, cores, stay_on};

/// Bytes of payload.
const SIZE: usize = 64;
/// Packets per system call.
const BATCH: usize = 64;
/// Size of the receive buffer in bytes.
static BUFFER: libc::c_int = 8 << 20;

/// Packets per second received.
pub fn run(ends: &Ends<'_>, time: Duration) -> f64 {
    let (sender, receiver) = open(ends);
    let begin = Instant::now() + WARM_UP;
    let end = begin + time;
    let (client, server) = cores();
    let received = thread::scope(|scope| {
        let receiving = scope.spawn(|| {
            stay_on(server);
            receive(&receiver, begin, end)
        });
        scope.spawn(|| {
            stay_on(client);
            send(&sender, end);
        });
        receiving.join().expect("receiver")
    });
    received as f64 / time.as_secs_f64()
}

/// Opens a flow with one reply, and returns the client's end.
pub fn open_flow(ends: &Ends<'_>) -> SocketAddr {
    let (sender, _receiver) = open(ends);
    sender.local_addr().expect("address")
}

fn open(ends: &Ends<'_>) -> (UdpSocket, UdpSocket) {
    let receiver = ends
        .server
        .enter(|| UdpSocket::bind(ends.listen).expect("bind"));
    set_buffer(&receiver);
    receiver
        .set_read_timeout(Some(Duration::from_millis(200)))
        .expect("timeout");
    let local = SocketAddr::new(ends.source, 0);
    let sender = ends.client.enter(|| UdpSocket::bind(local).expect("bind"));
    sender.connect(ends.target).expect("connect");
    establish(&sender, &receiver);
    (sender, receiver)
}

/// One packet in each direction, so that every table has a replied flow.
fn establish(sender: &UdpSocket, receiver: &UdpSocket) {
    let mut buffer = [0; SIZE];
    sender
        .set_read_timeout(Some(Duration::from_secs(1)))
        .expect("timeout");
    for _ in 0..5 {
        sender.send(&[0; SIZE]).expect("send");
        if let Ok((_, peer)) = receiver.recv_from(&mut buffer) {
            receiver.send_to(&buffer, peer).expect("reply");
            if sender.recv(&mut buffer).is_ok() {
                return;
            }
        }
    }
    panic!("no UDP packet arrives, or no reply");
}

fn send(socket: &UdpSocket, end: Instant) {
    let mut payload = [0_u8; SIZE];
    let mut vector = libc::iovec {
        iov_base: payload.as_mut_ptr().cast(),
        iov_len: SIZE,
    };
    let mut messages = messages(std::iter::repeat_n(&raw mut vector, BATCH));
    while Instant::now() < end {
        // SAFETY: each message points to `vector`, that to `payload`; both outlive the call, which only reads.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                0,
            )
        };
        if sent < 0 {
            let error = io::Error::last_os_error();
            // The device's queue is full.
            assert_eq!(error.raw_os_error(), Some(libc::ENOBUFS), "{error}");
        }
    }
}

/// Polls without sleeping: the sender would have to wake a sleeping receiver, which costs a fifth of its time.
fn receive(socket: &UdpSocket, begin: Instant, end: Instant) -> u64 {
    let mut payloads = [[0_u8; SIZE]; BATCH];
    let mut vectors = payloads.each_mut().map(|payload| libc::iovec {
        iov_base: payload.as_mut_ptr().cast(),
        iov_len: SIZE,
    });
    let mut messages = messages(vectors.iter_mut().map(|vector| &raw mut *vector));
    let mut total = 0;
    loop {
        // SAFETY: each message points to its own vector, that to its own payload; all outlive the call.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let now = Instant::now();
        if now >= end {
            return total;
        }
        if received < 0 {
            thread::yield_now();
        }
        if now >= begin {
            total += u64::try_from(received).unwrap_or(0);
        }
    }
}

fn messages(vectors: impl Iterator<Item = *mut libc::iovec>) -> Vec<libc::mmsghdr> {
    vectors.map(message).collect()
}

/// A message with one vector, and without address and control data.
pub(super) fn message(vector: *mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeroes is a message without address, data and control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = vector;
    message.msg_hdr.msg_iovlen = 1;
    message
}

fn set_buffer(socket: &UdpSocket) {
    // SAFETY: the value is a `c_int` of this frame, as the option takes it.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUFFORCE,
            (&raw const BUFFER).cast(),
            size_of_val(&BUFFER) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}
