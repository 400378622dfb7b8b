//! The child process between fork and exec.

use std::{
    ffi::{CStr, OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    process::Command,
};

use nix::{
    fcntl::OFlag,
    mount::{MsFlags, mount},
    sched::{CloneFlags, setns, unshare},
    sys::{
        signal::{SigHandler, SigSet, SigmaskHow, pthread_sigmask, signal},
        statvfs::{FsFlags, statvfs},
    },
    unistd::{pipe2, sethostname},
};

use super::{Entry, FORWARDED, StartError, prepare};
use crate::kernel::netns;

type Step = Box<dyn FnMut() -> nix::Result<()> + Send + Sync>;

/// Steps of the child before it executes the command.
pub(super) struct Steps {
    /// An additional first step.
    pub before: Option<Step>,
    /// The sandbox that the child enters.
    pub target: Target,
    /// Mount flags of the new `/sys`.
    pub flags: MsFlags,
}

/// The sandbox that the child enters.
pub(super) enum Target {
    /// Known before the fork: namespace, host name, and whether to mount `/sys`.
    Known(OwnedFd, Option<String>, bool),
    /// Received from the parent through a pipe, as [`encode`]d bytes.
    Received(OwnedFd),
}

impl Steps {
    /// The steps that enter a sandbox.
    pub(super) fn of(entry: &Entry) -> Result<Self, StartError> {
        let netns = File::open(&entry.netns).map_err(|source| StartError::Open {
            path: entry.netns.clone(),
            source,
        })?;
        if let Some(cookie) = entry.cookie {
            // The path of a process leads to another namespace when the process has ended and its id was reused.
            netns::check_cookie(&netns, &entry.netns, cookie)?;
        }
        Ok(Self {
            before: None,
            target: Target::Known(netns.into(), entry.hostname.clone(), entry.sysfs),
            flags: sysfs_flags(),
        })
    }

    /// Runs the steps; called in the child.
    fn run(&mut self) -> Result<(), (Stage, nix::Error)> {
        if let Some(before) = &mut self.before {
            before().map_err(|errno| (Stage::Start, errno))?;
        }
        reset_signals().map_err(|errno| (Stage::Start, errno))?;
        match &self.target {
            Target::Known(netns, hostname, sysfs) => enter(
                netns,
                hostname.as_deref().map(str::as_bytes),
                *sysfs,
                self.flags,
            ),
            Target::Received(entry) => {
                let mut buffer = [0; MAX_ENTRY];
                let (netns, hostname, sysfs) =
                    receive(entry, &mut buffer).map_err(|errno| (Stage::Start, errno))?;
                let netns = nix::fcntl::open(
                    netns,
                    OFlag::O_RDONLY | OFlag::O_CLOEXEC,
                    nix::sys::stat::Mode::empty(),
                )
                .map_err(|errno| (Stage::Open, errno))?;
                enter(&netns, hostname, sysfs, self.flags)
            }
        }
    }
}

/// Unblocks the signals, and resets those that are ignored. The command would inherit both, for example from a shell that
/// ignores signals in background commands.
fn reset_signals() -> nix::Result<()> {
    for number in FORWARDED {
        // SAFETY: no handler is installed.
        unsafe { signal(number, SigHandler::SigDfl) }?;
    }
    pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

/// Enters a sandbox. Makes system calls only.
fn enter(
    netns: &OwnedFd,
    hostname: Option<&[u8]>,
    sysfs: bool,
    flags: MsFlags,
) -> Result<(), (Stage, nix::Error)> {
    let at = |stage| move |errno| (stage, errno);
    setns(netns, CloneFlags::CLONE_NEWNET).map_err(at(Stage::Namespace))?;
    if let Some(hostname) = hostname {
        unshare(CloneFlags::CLONE_NEWUTS).map_err(at(Stage::Hostname))?;
        sethostname(OsStr::from_bytes(hostname)).map_err(at(Stage::Hostname))?;
    }
    if sysfs {
        unshare(CloneFlags::CLONE_NEWNS).map_err(at(Stage::Mount))?;
        // Mounts in this namespace do not propagate to the host; mounts of the host propagate to this namespace.
        let none: Option<&CStr> = None;
        mount(none, c"/", none, MsFlags::MS_SLAVE | MsFlags::MS_REC, none)
            .map_err(at(Stage::Mount))?;
        let kept = [c"/sys/fs/cgroup", c"/sys/fs/bpf"].map(|path| (path, clone_mounts(path)));
        mount(Some(c"sysfs"), c"/sys", Some(c"sysfs"), flags, none).map_err(at(Stage::Mount))?;
        for (path, tree) in kept {
            if let Some(tree) = tree {
                attach_mounts(&tree, path);
            }
        }
    }
    Ok(())
}

/// A detached copy of the mounts at and below `path`; `None` if nothing is mounted there.
fn clone_mounts(path: &CStr) -> Option<OwnedFd> {
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | libc::AT_RECURSIVE as u32;
    // SAFETY: the path is a C string that outlives the call; the kernel writes nothing.
    let tree = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    let tree = RawFd::try_from(tree).ok().filter(|tree| *tree >= 0)?;
    // SAFETY: the kernel has just returned it, so nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(tree) })
}

/// Mounts a copy that [`clone_mounts`] created. If this fails, parts of `/sys` are missing, which is not fatal.
fn attach_mounts(tree: &OwnedFd, path: &CStr) {
    // SAFETY: both paths are C strings that outlive the call; the kernel writes nothing.
    unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        );
    }
}

/// Mount flags of the new `/sys`: read-only if the current one is.
pub(super) fn sysfs_flags() -> MsFlags {
    let mut flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    if statvfs(c"/sys").is_ok_and(|stat| stat.flags().contains(FsFlags::ST_RDONLY)) {
        flags |= MsFlags::MS_RDONLY;
    }
    flags
}

/// Size of the buffer for an encoded [`Entry`]: the longest path and the longest host name.
const MAX_ENTRY: usize = 4096 + 256;

/// An entry as bytes: flag for `/sys`, length of the host name (0 if there is none), host name, path, NUL.
pub(super) fn encode(entry: &Entry) -> Vec<u8> {
    let hostname = entry.hostname.as_deref().unwrap_or_default().as_bytes();
    let hostname = hostname.get(..64).unwrap_or(hostname);
    let mut bytes = vec![u8::from(entry.sysfs), hostname.len() as u8];
    bytes.extend_from_slice(hostname);
    bytes.extend_from_slice(entry.netns.as_os_str().as_bytes());
    bytes.push(0);
    bytes
}

/// Reads and decodes the result of [`encode`] from a pipe, without heap allocation.
fn receive<'a>(
    from: &OwnedFd,
    buffer: &'a mut [u8; MAX_ENTRY],
) -> nix::Result<(&'a CStr, Option<&'a [u8]>, bool)> {
    let mut length = 0;
    while let Some(rest) = buffer.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match nix::unistd::read(from, rest) {
            Ok(0) => break,
            Ok(count) => length += count,
            Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    decode(buffer.get(..length).unwrap_or_default()).ok_or(nix::Error::ECANCELED)
}

fn decode(bytes: &[u8]) -> Option<(&CStr, Option<&[u8]>, bool)> {
    let (sysfs, rest) = bytes.split_first()?;
    let (length, rest) = rest.split_first()?;
    let (hostname, netns) = rest.split_at_checked(usize::from(*length))?;
    let netns = CStr::from_bytes_with_nul(netns).ok()?;
    let hostname = Some(hostname).filter(|hostname| !hostname.is_empty());
    Some((netns, hostname, *sysfs != 0))
}

/// Step of the child that failed.
#[derive(Clone, Copy)]
#[repr(u8)]
enum Stage {
    Start = 1,
    Open = 2,
    Namespace = 3,
    Hostname = 4,
    Mount = 5,
}

impl Stage {
    fn what(byte: u8) -> &'static str {
        match byte {
            2 => "open the network namespace",
            3 => "enter the network namespace",
            4 => "set the host name",
            5 => "mount /sys",
            _ => "start the process",
        }
    }
}

/// The read end of the pipe that carries a [`Stage`].
pub(super) struct Report(OwnedFd);

/// The command, ready to spawn or to exec, and the report of its failure. The command owns the write end of the report's
/// pipe: drop it before [`Report::explain`].
pub(super) fn prepared(
    command: &[OsString],
    mut steps: Steps,
) -> Result<(Command, Report), StartError> {
    let (program, arguments) = command
        .split_first()
        .ok_or_else(|| prepare("start the process", nix::Error::EINVAL))?;
    let (report, stage) =
        pipe2(OFlag::O_CLOEXEC).map_err(|errno| prepare("create a pipe", errno))?;
    let mut process = Command::new(program);
    process.args(arguments);
    // SAFETY: between fork and exec, the steps make system calls only: no allocation, no locks.
    unsafe {
        process.pre_exec(move || match steps.run() {
            Ok(()) => Ok(()),
            Err((at, errno)) => {
                // If this fails, the parent reports a less specific error.
                let _ = nix::unistd::write(&stage, &[at as u8]);
                Err(errno.into())
            }
        });
    }
    Ok((process, Report(report)))
}

impl Report {
    /// The error of a `command` that failed to start with `source`.
    pub(super) fn explain(self, command: &[OsString], source: io::Error) -> StartError {
        let mut stages = Vec::new();
        match File::from(self.0).read_to_end(&mut stages) {
            Ok(_) if !stages.is_empty() => StartError::Prepare {
                what: Stage::what(stages.first().copied().unwrap_or_default()),
                source,
            },
            _ => StartError::Exec {
                program: command.first().cloned().unwrap_or_default(),
                source,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encoded_entry_is_decoded_unchanged() {
        for hostname in [None, Some("web".to_owned())] {
            let entry = Entry {
                hostname: hostname.clone(),
                sysfs: true,
                netns: "/proc/self/ns/net".into(),
                cookie: None,
            };
            let bytes = encode(&entry);
            assert_eq!(
                decode(&bytes),
                Some((
                    c"/proc/self/ns/net",
                    hostname.as_deref().map(str::as_bytes),
                    true
                ))
            );
        }
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[0, 9, b'a', 0]), None);
        assert_eq!(decode(&[0, 0, b'a']), None);
    }
}
