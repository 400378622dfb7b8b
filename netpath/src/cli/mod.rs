//! The command line: nouns, then verbs.
//!
//! Every command returns an exit status or a failure, which prints as one line. Output goes to stdout through
//! `output`, logs and failures to stderr.

mod completions;
mod daemon;
mod deny;
mod doctor;
mod failure;
mod man;
mod map;
mod network;
mod node;
mod output;
mod port;
mod process;
mod run;
mod sandbox;
mod status;
mod teardown;
mod usage;

#[cfg(test)]
mod tests;

use std::{
    ffi::OsString,
    fs,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};

use crate::{
    config::{DEFAULT_BPF_DIR, DEFAULT_SOCKET, PINS_LINK},
    frontend::http::client::Client,
};
use failure::Failure;
use output::Format;

/// Heading of the options that every command accepts.
const GLOBAL: &str = "Global options";

/// Container networks on Linux hosts with the packet path in eBPF.
#[derive(Debug, Parser)]
#[command(
    name = "netpath",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    after_help = "Example:\n  netpath run --name web -p 8080:80 -- python3 -m http.server 80"
)]
pub struct Cli {
    /// The daemon's socket [default: /run/netpath/netpath.sock]
    #[arg(
        long,
        value_name = "PATH",
        env = "NETPATH_SOCKET",
        hide_env_values = true,
        global = true,
        help_heading = GLOBAL
    )]
    socket: Option<PathBuf>,
    /// Show the causes of a failure
    #[arg(short, long, global = true, help_heading = GLOBAL)]
    verbose: bool,
    /// Output format
    #[arg(
        short,
        long,
        value_name = "table|json",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        global = true,
        help_heading = GLOBAL
    )]
    output: Format,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Daemon(Box<daemon::Arguments>),
    Teardown(teardown::Arguments),
    #[command(subcommand)]
    Network(network::Command),
    #[command(subcommand)]
    Node(node::Command),
    Run(run::Arguments),
    #[command(subcommand)]
    Sandbox(sandbox::Command),
    #[command(subcommand)]
    Port(port::Command),
    #[command(subcommand)]
    Deny(deny::Command),
    #[command(subcommand)]
    Map(map::Command),
    Status(status::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
    #[command(hide = true)]
    Man(man::Arguments),
}

/// State that all commands use.
struct Context {
    client: Client,
    format: Format,
    verbose: bool,
}

impl Context {
    /// The directory for pinned maps: `named` if given; otherwise the one that the daemon has recorded next to its
    /// socket; otherwise the default.
    fn pins(&self, named: Option<&Path>) -> PathBuf {
        let recorded = || fs::read_link(self.client.socket().parent()?.join(PINS_LINK)).ok();
        named
            .map(Path::to_owned)
            .or_else(recorded)
            .unwrap_or_else(|| DEFAULT_BPF_DIR.into())
    }
}

/// An exit status, or a failure.
type Outcome = Result<u8, Failure>;

/// Runs one command line, program name first.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return usage::report(&error),
    };
    let verbose = cli.verbose;
    match dispatch(cli) {
        Ok(status) => ExitCode::from(status),
        Err(failure) => {
            output::complain(&failure.report(verbose));
            ExitCode::from(failure.status())
        }
    }
}

fn dispatch(cli: Cli) -> Outcome {
    let mut runtime = match cli.command {
        Command::Daemon(_) => tokio::runtime::Builder::new_multi_thread(),
        // A process that forks and enters namespaces has one thread.
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build().map_err(|error| {
        Failure::new("start", "", error).advice("check the limits of this process")
    })?;
    let context = Context {
        client: Client::new(cli.socket.clone().unwrap_or_else(|| DEFAULT_SOCKET.into())),
        format: cli.output,
        verbose: cli.verbose,
    };
    match cli.command {
        Command::Daemon(arguments) => {
            runtime.block_on(daemon::execute(*arguments, cli.socket, cli.verbose))
        }
        Command::Teardown(arguments) => runtime.block_on(teardown::execute(&context, arguments)),
        Command::Network(command) => runtime.block_on(network::execute(&context, command)),
        Command::Node(command) => runtime.block_on(node::execute(&context, command)),
        Command::Run(arguments) => run::execute(&context, &runtime, arguments),
        Command::Sandbox(command) => runtime.block_on(sandbox::execute(&context, command)),
        Command::Port(command) => runtime.block_on(port::execute(&context, command)),
        Command::Deny(command) => runtime.block_on(deny::execute(&context, command)),
        Command::Map(command) => map::execute(&context, command),
        Command::Status(arguments) => runtime.block_on(status::execute(&context, arguments)),
        Command::Doctor(arguments) => runtime.block_on(doctor::execute(&context, arguments)),
        Command::Completions(arguments) => completions::execute(arguments),
        Command::Man(arguments) => man::execute(arguments),
    }
}

/// Whether to colour stdout: it is a terminal, and `NO_COLOR` is not set (<https://no-color.org>).
fn colours() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}
