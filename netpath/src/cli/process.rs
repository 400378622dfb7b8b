//! Processes in sandboxes: the one place of the command line that forks, enters namespaces and handles signals.
//!
//! Between fork and exec only system calls are made: allocations are done before. A failure there
//! is reported through a pipe, since `Command` reports only an error number.

mod child;
mod stop;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, FromRawFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{ExitStatus, Stdio},
    thread,
};

use nix::{
    fcntl::OFlag,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigHandler, SigSet, SigmaskHow, Signal, kill, pthread_sigmask, signal},
        signalfd::{SfdFlags, SignalFd},
    },
    unistd::{Pid, getpid, getppid, pipe2, setsid},
};

use crate::kernel::process as kernel_process;
pub(super) use stop::{Stop, StopError};

use child::{Place, Steps, encode, prepared, sysfs_flags};

/// How a process gets into a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Path of the network namespace.
    pub netns: PathBuf,
    /// Host name, in a separate UTS namespace.
    pub hostname: Option<String>,
    /// Mounts a `/sys` that shows the sandbox's devices, in a separate mount namespace.
    pub sysfs: bool,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    /// The namespace cannot be opened.
    #[error("could not open the namespace {}: {source}", path.display())]
    Open {
        /// Path.
        path: PathBuf,
        /// Cause.
        source: io::Error,
    },
    /// The process cannot be created or prepared.
    #[error("could not {what}: {source}")]
    Prepare {
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// The command is not one.
    #[error("could not run '{}': {source}", program.display())]
    Exec {
        /// The program.
        program: OsString,
        /// Cause.
        source: io::Error,
    },
}

/// Why a detached process did not start.
#[derive(Debug)]
pub(super) enum DetachError<E> {
    /// Waiting for the process failed.
    Withdrawn(E),
    /// The process did not start.
    Start(StartError),
}

/// Signals that are passed on to a process in the foreground.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Runs a command in the foreground, passes signals on to it, and returns how it ended. It dies with this process.
///
/// Signals stay blocked in this process afterwards, so that what remains to be done is done.
pub(super) fn foreground(command: &[OsString], entry: &Entry) -> Result<ExitStatus, StartError> {
    let failed = |what| move |errno: nix::Error| prepare(what, errno);
    // SAFETY: no handler is installed. An inherited "ignore" would have the kernel reap the child unseen.
    unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }.map_err(failed("handle SIGCHLD"))?;
    let signals = SigSet::from_iter(FORWARDED);
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&signals), None)
        .map_err(failed("block signals"))?;
    let events = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
        .map_err(failed("watch signals"))?;

    let parent = getpid();
    let mut steps = Steps::of(entry)?;
    steps.before = Some(Box::new(move || {
        prctl::set_pdeathsig(Signal::SIGKILL)?;
        // The parent may have died before the request.
        if getppid() == parent {
            Ok(())
        } else {
            Err(nix::Error::ESRCH)
        }
    }));
    let (mut process, report) = prepared(command, steps)?;
    let spawned = process.spawn();
    drop(process);
    let mut child = spawned.map_err(|error| report.explain(command, error))?;
    let pid = child_pid(child.id());
    // SIGCHLD is not suitable: any thread of the process may receive it, and a thread that does not block it loses it.
    let gone = kernel_process::pidfd(pid.as_raw())
        .map_err(io::Error::other)
        .and_then(|gone| gone.ok_or_else(|| nix::Error::ESRCH.into()))
        .map_err(|source| StartError::Prepare {
            what: "watch the command",
            source,
        })?;
    loop {
        if let Some(status) = child.try_wait().map_err(|source| StartError::Prepare {
            what: "wait for the command",
            source,
        })? {
            return Ok(status);
        }
        let mut watched =
            [events.as_fd(), gone.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        match poll(&mut watched, PollTimeout::NONE) {
            Ok(_) | Err(nix::Error::EINTR) => {}
            Err(errno) => return Err(prepare("wait for the command", errno)),
        }
        let event = match events.read_signal() {
            Ok(Some(event)) => event,
            Ok(None) | Err(nix::Error::EINTR) => continue,
            Err(errno) => return Err(prepare("read signals", errno)),
        };
        let number = i32::try_from(event.ssi_signo).unwrap_or_default();
        // A signal of the terminal (a positive code) is sent to the whole process group, the child included.
        if event.ssi_code <= 0
            && let Ok(signal) = Signal::try_from(number)
        {
            // It may just have ended.
            let _ = kill(pid, signal);
        }
    }
}

/// Starts a command in a new session, without terminal and files. `provide` creates the sandbox that it enters, given the
/// number that the process has from the beginning; the process waits for that. Returns once the command runs.
pub(super) fn detached<T, E>(
    command: &[OsString],
    provide: impl FnOnce(i32) -> Result<(T, Entry), E>,
) -> Result<T, DetachError<E>> {
    let failed = |what| move |errno: nix::Error| DetachError::Start(prepare(what, errno));
    let (number_out, number_in) = pipe2(OFlag::O_CLOEXEC).map_err(failed("make a pipe"))?;
    let (entry_out, entry_in) = pipe2(OFlag::O_CLOEXEC).map_err(failed("make a pipe"))?;
    let foreign = entry_in.as_raw_fd();
    let (mut process, report) = prepared(
        command,
        Steps {
            before: Some(Box::new(move || {
                // SAFETY: this is the child's copy of the parent's end; nothing else of the child uses it. While it
                // is open, the end of the parent would go unnoticed.
                drop(unsafe { OwnedFd::from_raw_fd(foreign) });
                setsid()?;
                nix::unistd::write(&number_in, &getpid().as_raw().to_ne_bytes())?;
                Ok(())
            })),
            place: Place::Later(entry_out),
            flags: sysfs_flags(),
        },
    )
    .map_err(DetachError::Start)?;
    process
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());

    // Spawning returns when the command runs, which is after `provide`.
    let spawning = thread::spawn(move || {
        let result = process.spawn().map(drop);
        // The write end of the pipe is closed with it: otherwise the reader would wait forever.
        drop(process);
        result
    });
    let mut number = [0; 4];
    let provided = match File::from(number_out).read_exact(&mut number) {
        Ok(()) => Some(provide(i32::from_ne_bytes(number))),
        // The process did not reach this step; the error of spawning says why.
        Err(_) => None,
    };
    if let Some(Ok((_, entry))) = &provided {
        // If the process has ended, the error of spawning says why.
        let _ = File::from(entry_in).write_all(&encode(entry));
    } else {
        drop(entry_in);
    }
    let spawned = spawning.join();
    match (provided, spawned) {
        (Some(Err(error)), _) => Err(DetachError::Withdrawn(error)),
        (_, Ok(Err(error))) => Err(DetachError::Start(report.explain(command, error))),
        (Some(Ok((value, _))), Ok(Ok(()))) => Ok(value),
        (None, Ok(Ok(()))) | (_, Err(_)) => Err(DetachError::Start(prepare(
            "start the process",
            nix::Error::ECANCELED,
        ))),
    }
}

/// Replaces this process by a command; returns only if that failed.
pub(super) fn replace(command: &[OsString], entry: &Entry) -> StartError {
    let prepared = Steps::of(entry).and_then(|steps| prepared(command, steps));
    match prepared {
        Ok((mut process, report)) => {
            let error = process.exec();
            drop(process);
            report.explain(command, error)
        }
        Err(error) => error,
    }
}

fn prepare(what: &'static str, errno: nix::Error) -> StartError {
    StartError::Prepare {
        what,
        source: errno.into(),
    }
}

fn child_pid(id: u32) -> Pid {
    // Process numbers are positive and fit: the kernel has no more than 2^22 of them.
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn here() -> Entry {
        Entry {
            netns: "/proc/self/ns/net".into(),
            hostname: None,
            sysfs: false,
        }
    }

    #[test]
    fn missing_namespace_is_reported() {
        let entry = Entry {
            netns: "/nonexistent/netns".into(),
            ..here()
        };
        let error = foreground(&["true".into()], &entry).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/netns"), "{error}");
    }

    /// Entering a namespace, even one's own, takes CAP_SYS_ADMIN.
    fn may_enter() -> bool {
        nix::unistd::geteuid().is_root()
    }

    fn shell(script: &str) -> [OsString; 3] {
        ["sh", "-c", script].map(OsString::from)
    }

    #[test]
    fn foreground_command_sets_the_exit_status() {
        if may_enter() {
            let status = |script| foreground(&shell(script), &here()).unwrap();
            assert_eq!(status("exit 7").code(), Some(7));
            assert_eq!(status("kill -TERM $$").signal(), Some(15));
        }
    }

    #[test]
    fn missing_and_unexecutable_commands_have_distinct_errors() {
        if may_enter() {
            let error = |program: &str| match foreground(&[program.into()], &here()) {
                Err(StartError::Exec { source, .. }) => source.kind(),
                other => panic!("{other:?}"),
            };
            assert_eq!(error("/nonexistent/x"), io::ErrorKind::NotFound);
            assert_eq!(error("/etc/passwd"), io::ErrorKind::PermissionDenied);
        }
    }

    #[test]
    fn detached_command_starts_after_its_sandbox() {
        if may_enter() {
            let number = detached(&shell("exit 0"), |number| Ok::<_, ()>((number, here())));
            assert!(matches!(number, Ok(number) if number > 0));
            let withdrawn = detached::<(), _>(&shell("exit 0"), |_| Err("no"));
            assert!(matches!(withdrawn, Err(DetachError::Withdrawn("no"))));
            let missing = detached(&["/nonexistent/x".into()], |_| Ok::<_, ()>(((), here())));
            assert!(matches!(
                missing,
                Err(DetachError::Start(StartError::Exec { .. }))
            ));
        }
    }
}
