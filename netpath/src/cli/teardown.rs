//! `netpath teardown`.

use std::path::PathBuf;

use clap::Args;

use super::{Context, Outcome, failure::Failure};
use crate::{
    config::{Config, Settings},
    frontend::http::client::ClientError,
};

/// Remove netpath's kernel state and its run directory
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  netpath teardown\n\n\
                  The daemon removes its state and exits. With --force, this command removes it without a daemon; this \
                  needs root. The directories are then those of these options, of the settings file, or the default ones.")]
pub(super) struct Arguments {
    /// Work without a daemon
    #[arg(long)]
    force: bool,
    /// Settings file of the daemon
    #[arg(long, value_name = "FILE", requires = "force")]
    config: Option<PathBuf>,
    /// Run directory of the daemon
    #[arg(long, value_name = "DIR", requires = "force")]
    run_dir: Option<PathBuf>,
    /// State directory of the daemon
    #[arg(long, value_name = "DIR", requires = "force")]
    state_dir: Option<PathBuf>,
    /// Directory for pinned maps and links of the daemon
    #[arg(long, value_name = "DIR", requires = "force")]
    bpf_dir: Option<PathBuf>,
    /// Cgroup of the daemon
    #[arg(long, value_name = "DIR", requires = "force")]
    cgroup: Option<PathBuf>,
}

/// Executes the command.
pub(super) async fn execute(context: &Context, arguments: Arguments) -> Outcome {
    if arguments.force {
        let settings = Settings {
            config: arguments.config,
            run_dir: arguments.run_dir,
            state_dir: arguments.state_dir,
            bpf_dir: arguments.bpf_dir,
            cgroup: arguments.cgroup,
            ..Settings::default()
        };
        let config = Config::load(settings, None).map_err(Failure::config("teardown"))?;
        crate::daemon::teardown_forced(&config)
            .await
            .map_err(|error| Failure::chain("teardown", &error.into()))?;
    } else {
        context.client.teardown().await.map_err(|error| {
            let unreachable = matches!(error, ClientError::Unreachable { .. });
            let failure = Failure::api("teardown", "")(error);
            if unreachable {
                failure.advice("use 'netpath teardown --force' if no daemon runs")
            } else {
                failure
            }
        })?;
    }
    Ok(0)
}
