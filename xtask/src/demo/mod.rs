//! `cargo xtask run --demo`: the main features of netpath in temporary namespaces. This host is not changed.
//!
//! ```text
//! mod.rs      command line, signals, order of steps
//! steps.rs    the steps
//! diagram.rs  the topology as text
//! setup.rs    namespaces, daemon and directories, and their removal
//! peer.rs     a server and a client that report the client address that the server sees
//! ```

mod diagram;
pub mod peer;
mod setup;
mod steps;

use std::{
    env,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::command;
use setup::Setup;

/// Runs the demo as root.
#[derive(clap::Args)]
pub struct Args {
    /// The `netpath` binary to use.
    netpath: PathBuf,
}

/// Starts the demo, with sudo if this process is not root.
pub fn start(netpath: &Path) -> Result<ExitCode> {
    if command::is_root() {
        return main(&Args {
            netpath: netpath.to_owned(),
        });
    }
    let own = env::current_exe().context("cannot find this program")?;
    let status = command::status(command::as_root(own)?.arg("demo").arg(netpath))?;
    Ok(command::exit_code(status))
}

/// Runs the demo and removes its setup in any case.
pub fn main(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let interrupt = Interrupt::register()?;
    println!("netpath demo: everything runs in temporary namespaces, this host is not changed\n");
    let mut setup = Setup::new(&args.netpath)?;
    let result = setup
        .create()
        .and_then(|()| steps::run_all(&setup, &interrupt));
    let interrupted = interrupt.check();
    if let Err(interrupted) = &interrupted {
        // After a signal, the error of a step only says how its command ended.
        println!("\n✗ {interrupted}, cleaning up");
    } else if let Err(error) = &result {
        println!("\n✗ {error:#}");
        setup.print_log();
    }
    let errors = setup.tear_down();
    for error in &errors {
        println!("✗ cleaning up: {error}");
    }
    if interrupted.is_err() {
        return Ok(ExitCode::from(130));
    }
    let took = started.elapsed().as_secs_f32();
    match result {
        Ok(()) if errors.is_empty() => {
            println!("\n✓ all steps passed, everything has been removed ({took:.1} s)");
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Signals that end a process, caught until the setup is removed. They still end the command of the current step, so
/// that the step fails immediately.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn register() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .context("cannot register a signal handler")?;
        }
        Ok(Self(flag))
    }

    /// An error if a signal has arrived.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
