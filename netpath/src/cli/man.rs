//! `netpath man`: for packagers.

use std::path::PathBuf;

use clap::{Args, CommandFactory};

use super::{Cli, Outcome, failure::Failure};

/// Write manual pages, one for each command
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  netpath man /usr/share/man/man1")]
pub(super) struct Arguments {
    /// Directory, which must exist
    dir: PathBuf,
}

/// Writes the pages.
pub(super) fn execute(arguments: Arguments) -> Outcome {
    clap_mangen::generate_to(Cli::command(), &arguments.dir).map_err(|error| {
        Failure::new("man", arguments.dir.display().to_string(), error)
            .advice("name a directory that exists and can be written")
    })?;
    Ok(0)
}
