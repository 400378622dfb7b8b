//! Ethernet frames at the highest rate of one core.

use std::{
    io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    time::{Duration, Instant},
};

use netpath_tests::Netns;
use nix::{errno::Errno, net::if_::if_nametoindex};

use super::{WARM_UP, cores, stay_on};

/// Frames per system call.
const BATCH: usize = 50;

/// What a sender has sent.
pub struct Sent {
    /// Number of frames, including those before the measurement.
    pub frames: u64,
    /// Time per frame, of the frames in the measurement.
    pub nanoseconds: f64,
}

/// Sends the frames through a device again and again, each one after the other, from one core.
///
/// The socket bypasses the queueing discipline. The receiving side of a veth pair runs before the system call returns, so
/// the time of a frame includes all work until another host receives or drops it.
pub fn run(netns: &Netns, device: &str, frames: &[Vec<u8>], time: Duration) -> Sent {
    netns.enter(|| {
        stay_on(cores().1);
        let socket = open(device).expect("a packet socket");
        let mut vectors: Vec<libc::iovec> = frames
            .iter()
            .cycle()
            .take(frames.len().next_multiple_of(BATCH))
            .map(|frame| libc::iovec {
                iov_base: frame.as_ptr().cast_mut().cast(),
                iov_len: frame.len(),
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = vectors
            .iter_mut()
            .map(|vector| super::udp::message(vector))
            .collect();
        let warm_up = send_for(&socket, &mut messages, WARM_UP);
        let measured = send_for(&socket, &mut messages, time);
        Sent {
            frames: warm_up.frames + measured.frames,
            ..measured
        }
    })
}

fn send_for(socket: &OwnedFd, messages: &mut [libc::mmsghdr], time: Duration) -> Sent {
    let begin = Instant::now();
    let mut frames = 0;
    // The clock is read once per round of all batches, but a round of one batch takes a few microseconds only.
    while begin.elapsed() < time {
        for batch in messages.chunks_mut(BATCH) {
            // SAFETY: each message points to a vector, that to a frame; all outlive the call, which only reads.
            let sent = unsafe {
                libc::sendmmsg(
                    socket.as_raw_fd(),
                    batch.as_mut_ptr(),
                    BATCH as libc::c_uint,
                    0,
                )
            };
            assert_eq!(
                usize::try_from(sent).ok(),
                Some(BATCH),
                "{}",
                io::Error::last_os_error()
            );
            frames += BATCH as u64;
        }
    }
    let nanoseconds = begin.elapsed().as_nanos() as f64 / frames as f64;
    Sent {
        frames,
        nanoseconds,
    }
}

/// A packet socket that sends through a device and receives nothing.
fn open(device: &str) -> Result<OwnedFd, Errno> {
    let index = if_nametoindex(device)?;
    let on: libc::c_int = 1;
    // SAFETY: all zeroes is a valid value of this structure.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index.cast_signed();
    // SAFETY: the descriptor is owned from here on; both other calls read as many bytes of a local variable as they are
    // told.
    unsafe {
        let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
        let number = Errno::result(libc::socket(libc::AF_PACKET, kind, 0))?;
        let socket = OwnedFd::from_raw_fd(number);
        Errno::result(libc::setsockopt(
            number,
            libc::SOL_PACKET,
            libc::PACKET_QDISC_BYPASS,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        ))?;
        Errno::result(libc::bind(
            number,
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        ))?;
        Ok(socket)
    }
}
