//! Processes in sandboxes. No other module of the command line forks, enters namespaces or handles signals.
//!
//! Between fork and exec, the child makes only system calls and allocates no memory. It reports the step that failed
//! through a pipe, because `Command` reports only an error number.

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

use child::{Steps, Target, encode, prepared, sysfs_flags};

/// The namespaces of a sandbox that a process enters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Path of the network namespace.
    pub netns: PathBuf,
    /// Cookie of the namespace that must be at that path; any one if `None`.
    pub cookie: Option<u64>,
    /// Host name, in a separate UTS namespace.
    pub hostname: Option<String>,
    /// Whether to mount a `/sys` that shows the sandbox's devices, in a separate mount namespace.
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
    /// Another namespace is at the path, or it cannot be identified.
    #[error(transparent)]
    Namespace(#[from] crate::kernel::Error),
    /// The process cannot be created or prepared.
    #[error("could not {what}: {source}")]
    Prepare {
        /// The step that failed, as the verb phrase after "could not".
        what: &'static str,
        /// Cause.
        source: io::Error,
    },
    /// The program does not exist or cannot be executed.
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
    /// The sandbox was not created, so the process was ended.
    Withdrawn(E),
    /// The process did not start.
    Start(StartError),
}

/// Signals that are forwarded to a process in the foreground.
const FORWARDED: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGWINCH,
];

/// Runs a command in the foreground, forwards signals to it, and returns its exit status. The kernel kills the command
/// when this process ends.
///
/// The signals stay blocked in this process afterwards, so that they do not interrupt the removal of the sandbox.
pub(super) fn foreground(command: &[OsString], entry: &Entry) -> Result<ExitStatus, StartError> {
    let failed = |what| move |errno: nix::Error| prepare(what, errno);
    // SAFETY: no handler is installed. If SIGCHLD were ignored, which is inherited, the kernel would discard the child's
    // exit status.
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
        // The parent may have ended before the call.
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
    // SIGCHLD is not suitable: the kernel may deliver it to a thread that does not block it, where it is lost.
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
            // This fails if the command has just ended.
            let _ = kill(pid, signal);
        }
    }
}

/// Starts a command in a new session, with `/dev/null` as standard input, output and error. `provide` gets the process id
/// and creates the sandbox; the process waits for it, enters it and executes the command. Returns when the command runs.
pub(super) fn detached<T, E>(
    command: &[OsString],
    provide: impl FnOnce(i32) -> Result<(T, Entry), E>,
) -> Result<T, DetachError<E>> {
    let failed = |what| move |errno: nix::Error| DetachError::Start(prepare(what, errno));
    let (number_out, number_in) = pipe2(OFlag::O_CLOEXEC).map_err(failed("create a pipe"))?;
    let (entry_out, entry_in) = pipe2(OFlag::O_CLOEXEC).map_err(failed("create a pipe"))?;
    let foreign = entry_in.as_raw_fd();
    let (mut process, report) = prepared(
        command,
        Steps {
            before: Some(Box::new(move || {
                // SAFETY: this is the child's copy of the parent's end of the pipe; nothing else in the child uses it. While
                // it is open, the child would not notice that the parent has ended.
                drop(unsafe { OwnedFd::from_raw_fd(foreign) });
                setsid()?;
                nix::unistd::write(&number_in, &getpid().as_raw().to_ne_bytes())?;
                Ok(())
            })),
            target: Target::Received(entry_out),
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
        // This closes the write end of the pipe, for which the reader waits.
        drop(process);
        result
    });
    let mut number = [0; 4];
    let provided = match File::from(number_out).read_exact(&mut number) {
        Ok(()) => Some(provide(i32::from_ne_bytes(number))),
        // The process did not reach this step; the error of spawning gives the cause.
        Err(_) => None,
    };
    if let Some(Ok((_, entry))) = &provided {
        // This fails if the process has ended; the error of spawning gives the cause.
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

/// Replaces this process by a command. Returns only if that fails.
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
    // Process ids are positive and at most 2^22.
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn here() -> Entry {
        Entry {
            netns: "/proc/self/ns/net".into(),
            cookie: None,
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

    /// Entering a namespace, even the current one, needs CAP_SYS_ADMIN.
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
