//! `netpath completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::{Cli, Outcome, output};

/// Print completions for a shell
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netpath completions bash >/usr/share/bash-completion/completions/netpath"
)]
pub(super) struct Arguments {
    /// Shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the completions.
pub(super) fn execute(arguments: Arguments) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "netpath", &mut script);
    output::text(&String::from_utf8_lossy(&script))?;
    Ok(0)
}
