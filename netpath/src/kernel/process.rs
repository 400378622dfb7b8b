//! Processes.

use std::{
    fs, io,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::PathBuf,
};

use nix::{errno::Errno, sys::signal::Signal};
use tokio::io::{Interest, unix::AsyncFd};

use super::{Error, netns};
use crate::model::{NetnsId, ProcessId};

/// When the process started, in clock ticks since boot; `None` if there is no such process or it is a zombie.
pub fn start_time(pid: i32) -> Result<Option<u64>, Error> {
    let path = format!("/proc/{pid}/stat");
    let text = match fs::read_to_string(&path) {
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || error.raw_os_error() == Some(libc::ESRCH) =>
        {
            return Ok(None);
        }
        other => other.map_err(|source| Error::syscall("read", &path, source))?,
    };
    parse_stat(&text).ok_or_else(|| Error::Format {
        path,
        expected: "the fields of proc_pid_stat(5)",
        found: text.clone(),
    })
}

/// The process that currently has this id; `None` if there is none.
pub fn identify(pid: i32) -> Result<Option<ProcessId>, Error> {
    Ok(start_time(pid)?.map(|start| ProcessId { pid, start }))
}

/// Whether exactly this process still runs.
pub fn alive(process: ProcessId) -> Result<bool, Error> {
    Ok(start_time(process.pid)? == Some(process.start))
}

/// Path of the network namespace of a process. Valid while the process runs.
pub fn netns_path(pid: i32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/ns/net"))
}

/// The network namespace of exactly this process; `None` if the process has ended.
pub fn netns_id(process: ProcessId) -> Result<Option<NetnsId>, Error> {
    let found = netns::id(&netns_path(process.pid))?;
    // The id of the process may have been reused before the namespace was opened.
    Ok(found.filter(|_| matches!(alive(process), Ok(true))))
}

/// Returns when exactly this process has ended, immediately if it has already ended. Needs Linux 5.3 (pidfd).
pub async fn wait_gone(process: ProcessId) -> Result<(), Error> {
    let object = || format!("process {}", process.pid);
    let Some(fd) = pidfd(process.pid)? else {
        return Ok(());
    };
    // The id may have been reused before the descriptor was opened.
    if !alive(process)? {
        return Ok(());
    }
    // SAFETY: the descriptor is owned by the `AsyncFd` and not replaced while it is.
    let fd = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }
        .map_err(|error| Error::syscall("epoll_ctl", object(), io::Error::from(error)))?;
    fd.readable()
        .await
        .map(|_| ())
        .map_err(|source| Error::syscall("epoll_wait", object(), source))
}

/// A descriptor that becomes readable when the process ends; `None` if no process has this id (Linux 5.3).
pub fn pidfd(pid: i32) -> Result<Option<OwnedFd>, Error> {
    // SAFETY: the call takes two integers and no memory.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match Errno::result(result) {
        // SAFETY: the kernel has just returned this descriptor, so nothing else owns it.
        Ok(fd) => Ok(Some(unsafe { OwnedFd::from_raw_fd(fd as i32) })),
        Err(Errno::ESRCH) => Ok(None),
        Err(errno) => Err(Error::syscall(
            "pidfd_open",
            format!("process {pid}"),
            errno,
        )),
    }
}

/// Sends a signal to the process with this descriptor and id; succeeds if it has ended (Linux 5.1).
pub fn send_signal(process: &OwnedFd, pid: i32, signal: Signal) -> Result<(), Error> {
    let no_details = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor is open, and the kernel accepts a null pointer for the details of the signal.
    let result = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            process.as_raw_fd(),
            signal as libc::c_int,
            no_details,
            0,
        )
    };
    match Errno::result(result) {
        Ok(_) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(Error::syscall(
            "pidfd_send_signal",
            format!("process {pid}"),
            errno,
        )),
    }
}

/// `Some(None)` for a zombie: its namespace and descriptors are released.
fn parse_stat(text: &str) -> Option<Option<u64>> {
    // The second field is the program's name in brackets, and may contain any characters, including brackets.
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let start = fields.nth(18)?.parse().ok()?;
    Some((!matches!(state, "Z" | "X" | "x")).then_some(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_name_with_brackets_is_parsed() {
        let stat = |state| {
            format!("7 (a) R 1 (b)) {state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4711 0 0")
        };
        assert_eq!(parse_stat(&stat("S")), Some(Some(4711)));
        assert_eq!(parse_stat(&stat("Z")), Some(None));
        assert_eq!(parse_stat("nonsense"), None);
    }

    #[test]
    fn process_is_alive_only_with_its_start_time() {
        let own = identify(std::process::id().cast_signed())
            .expect("stat")
            .expect("this process");
        assert!(alive(own).expect("stat"));
        let earlier = ProcessId {
            start: own.start - 1,
            ..own
        };
        assert!(!alive(earlier).expect("stat"));
        assert_eq!(
            netns_id(own).expect("namespace").map(|id| id.inode),
            Some(netns::current_inode().expect("namespace"))
        );
        assert_eq!(netns_id(earlier).expect("namespace"), None);
    }

    #[tokio::test]
    async fn end_of_a_process_is_detected() {
        let mut child = std::process::Command::new("sleep")
            .arg("0.2")
            .spawn()
            .expect("sleep");
        let process = identify(child.id().cast_signed())
            .expect("stat")
            .expect("child");
        wait_gone(process).await.expect("wait");
        assert!(!alive(process).expect("stat"), "a zombie is not alive");
        child.wait().expect("wait");
        wait_gone(process).await.expect("wait");
    }
}
