//! `netpath daemon`.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{Outcome, failure::Failure};
use crate::config::{Config, Settings};

/// Run the daemon in the foreground
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netpath daemon --uplink eth0 --pool 172.20.0.0/14/24\n\n\
                  NETPATH_LOG sets what is logged to stderr, for instance 'debug' or 'netpath::reconcile=trace'."
)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: Settings,
}

/// Runs the daemon until it stops.
pub(super) async fn execute(
    arguments: Arguments,
    socket: Option<PathBuf>,
    verbose: bool,
) -> Outcome {
    let config = Config::load(arguments.settings, socket).map_err(Failure::config("daemon"))?;
    start_logging(verbose);
    crate::daemon::run(config)
        .await
        .map_err(|error| Failure::chain("daemon", &error.into()))?;
    Ok(0)
}

/// Logs go to stderr. The level is `info`, or `debug` with `verbose`, unless `NETPATH_LOG` is set. The journal adds the
/// time itself.
fn start_logging(verbose: bool) {
    let default = if verbose { "debug" } else { "info" };
    let filter = EnvFilter::try_from_env("NETPATH_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(
            io::stderr().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
        );
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logs.without_time().init();
    } else {
        logs.init();
    }
}
