//! `cargo xtask run --demo`: the main job of netpath, shown in scratch namespaces. This host stays as it is.
//!
//! ```text
//! mod.rs      the verb, signals, the order of things
//! steps.rs    what is shown, one step after the other
//! picture.rs  the topology in text
//! scene.rs    the stage: namespaces, daemon, directories, and taking it all down
//! peer.rs     the built-in server and client that say which address the server saw
//! ```

pub mod peer;
mod picture;
mod scene;
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
use scene::Scene;

/// The demo itself, as root.
#[derive(clap::Args)]
pub struct Args {
    /// The `netpath` binary to show.
    netpath: PathBuf,
}

/// Starts the demo, through sudo if this process is not root.
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

/// Runs the demo and takes the scene down again, however it went.
pub fn main(args: &Args) -> Result<ExitCode> {
    let started = Instant::now();
    let interrupt = Interrupt::hold_back()?;
    println!("netpath demo: everything happens in scratch namespaces, this host stays as it is\n");
    let mut scene = Scene::new(&args.netpath)?;
    let result = scene
        .set_up()
        .and_then(|()| steps::play(&scene, &interrupt));
    let interrupted = interrupt.check();
    if let Err(interrupted) = &interrupted {
        // What a step says then is only how its command ended.
        println!("\n✗ {interrupted}, cleaning up");
    } else if let Err(error) = &result {
        println!("\n✗ {error:#}");
        scene.print_log();
    }
    let left = scene.take_down();
    for complaint in &left {
        println!("✗ cleaning up: {complaint}");
    }
    if interrupted.is_err() {
        return Ok(ExitCode::from(130));
    }
    let took = started.elapsed().as_secs_f32();
    match result {
        Ok(()) if left.is_empty() => {
            println!("\n✓ every step worked, nothing is left behind ({took:.1} s)");
            Ok(ExitCode::SUCCESS)
        }
        _ => Ok(ExitCode::FAILURE),
    }
}

/// Ctrl-C and its like, kept from ending this process before it has cleaned up. They still end the commands that a
/// step runs, so that the step fails at once.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    fn hold_back() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&flag))
                .context("cannot hold back signals")?;
        }
        Ok(Self(flag))
    }

    /// An error if somebody wants to stop.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        Ok(())
    }
}
