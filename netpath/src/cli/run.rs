//! `netpath run`.

use std::{ffi::OsString, io, os::unix::process::ExitStatusExt, process::ExitStatus};

use clap::Args;
use tokio::runtime::Runtime;

use super::{
    Context, Outcome,
    failure::Failure,
    output,
    process::{self, DetachError, Entry, StartError},
    sandbox::NetworkOptions,
};
use crate::{
    frontend::http::{
        client::ClientError,
        v1::{Sandbox, SandboxCreate},
    },
    model::Name,
};

/// Run a command in a new sandbox, which is removed when the command ends
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netpath run --name web -p 8080:80 -- python3 -m http.server 80\n\n\
                  The exit status is the command's: 128 and the number of the signal that ended it, 126 if it cannot \
                  be run, 127 if there is none."
)]
pub(super) struct Arguments {
    /// Name of the sandbox [default: generated]
    #[arg(long)]
    name: Option<Name>,
    #[command(flatten)]
    network: NetworkOptions,
    /// Run in the background and print the sandbox's name
    #[arg(short, long)]
    detach: bool,
    /// Command with its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Arguments {
    /// The request for the daemon, without the owner.
    pub(super) fn request(self) -> SandboxCreate {
        self.network.request(self.name)
    }
}

/// Runs the command. The runtime runs only during requests to the daemon: no other thread may run while processes are
/// created.
pub(super) fn execute(context: &Context, runtime: &Runtime, mut arguments: Arguments) -> Outcome {
    let command = std::mem::take(&mut arguments.command);
    if arguments.detach {
        detached(context, runtime, &command, arguments.request())
    } else {
        foreground(context, runtime, &command, arguments.request())
    }
}

/// How to enter a sandbox. The namespace of the node needs no further steps.
pub(super) fn entry(sandbox: &Sandbox) -> Entry {
    let own = sandbox.network_mode != "host";
    Entry {
        netns: sandbox.netns.clone(),
        cookie: sandbox.netns_cookie,
        hostname: Some(sandbox.hostname.clone()).filter(|name| own && !name.is_empty()),
        sysfs: own,
    }
}

/// A command that did not start, with the exit status that shells use.
pub(super) fn failure(action: &'static str, sandbox: &str, error: StartError) -> Failure {
    let (status, advice) = match &error {
        StartError::Open { source, .. } | StartError::Prepare { source, .. }
            if source.kind() == io::ErrorKind::PermissionDenied =>
        {
            (1, "run as root")
        }
        StartError::Open { .. } | StartError::Namespace(_) => {
            (1, "see 'netpath sandbox ls' for its state")
        }
        StartError::Prepare { .. } => (1, "see 'netpath doctor'"),
        StartError::Exec { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            (127, "check its spelling and PATH")
        }
        StartError::Exec { .. } => (126, "check that it is a program and may be executed"),
    };
    Failure::new(action, sandbox, error)
        .advice(advice)
        .exit(status)
}

fn foreground(
    context: &Context,
    runtime: &Runtime,
    command: &[OsString],
    mut request: SandboxCreate,
) -> Outcome {
    request.owner_pid = Some(nix::unistd::getpid().as_raw());
    let name = request.name.clone().unwrap_or_default();
    let sandbox = runtime
        .block_on(context.client.create_sandbox(&request))
        .map_err(Failure::api("run", name))?;
    let ended = process::foreground(command, &entry(&sandbox));
    // The daemon would remove the sandbox within seconds. The caller of this process does not have to wait for that.
    let removed = remove(context, runtime, &sandbox.name);
    match ended {
        Ok(status) => {
            if let Err(error) = removed {
                let failure = Failure::api("run", &sandbox.name)(error)
                    .advice("the daemon removes the sandbox when it is restarted");
                output::complain(&failure.report(context.verbose));
            }
            Ok(code(status))
        }
        Err(error) => Err(failure("run", &sandbox.name, error)),
    }
}

fn detached(
    context: &Context,
    runtime: &Runtime,
    command: &[OsString],
    mut request: SandboxCreate,
) -> Outcome {
    let object = request.name.clone().unwrap_or_default();
    let mut made = None;
    let started = process::detached(command, |pid| {
        request.owner_pid = Some(pid);
        let sandbox = runtime.block_on(context.client.create_sandbox(&request))?;
        let entry = entry(&sandbox);
        made = Some(sandbox.name.clone());
        Ok::<_, ClientError>((sandbox.name, entry))
    });
    match started {
        Ok(name) => {
            output::text(&format!("{name}\n"))?;
            Ok(0)
        }
        Err(DetachError::Withdrawn(error)) => Err(Failure::api("run", object)(error)),
        Err(DetachError::Start(error)) => {
            if let Some(name) = &made {
                // Its process has ended, so the daemon removes it.
                let _ = remove(context, runtime, name);
            }
            Err(failure("run", &made.unwrap_or(object), error))
        }
    }
}

fn remove(context: &Context, runtime: &Runtime, name: &str) -> Result<(), ClientError> {
    // With force, because this process is the one of the sandbox.
    match runtime.block_on(context.client.remove_sandbox(name, true)) {
        Err(error) if error.is_not_found() => Ok(()),
        result => result,
    }
}

/// The exit status as shells report it.
fn code(status: ExitStatus) -> u8 {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    u8::try_from(code).unwrap_or(1)
}
