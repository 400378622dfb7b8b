//! A virtual machine without hardware support: boots a kernel, shows its console, ends within a bounded time.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::package::Kernel;

/// The emulator.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// CPUs of the machine.
pub const CPUS: u32 = 2;
/// Memory of the machine, which holds the root file system too.
const MEMORY: &str = "6G";

/// Boots a kernel and calls `line` with every line of its console, until it powers off.
///
/// # Errors
/// If the emulator does not start, or the machine still runs after `limit`; it is killed then.
pub fn boot(
    kernel: &Kernel,
    initramfs: &Path,
    limit: Duration,
    mut line: impl FnMut(&str),
) -> Result<()> {
    let mut child = Command::new(PROGRAM)
        .args(["-accel", "tcg,thread=multi", "-cpu", "max", "-m", MEMORY])
        .args(["-smp", &CPUS.to_string()])
        .args([
            "-nodefaults",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-no-reboot",
        ])
        .arg("-kernel")
        .arg(kernel.image())
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {PROGRAM}"))?;
    let console = child.stdout.take().context("the emulator has no output")?;
    let (sender, lines) = mpsc::channel();
    let reader = thread::spawn(move || {
        for bytes in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
            if sender.send(text).is_err() {
                break;
            }
        }
    });
    let start = Instant::now();
    let in_time = loop {
        match lines.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(text) => line(&text),
            Err(RecvTimeoutError::Disconnected) => break true,
            Err(RecvTimeoutError::Timeout) => break false,
        }
    };
    if !in_time {
        child.kill().context("cannot end the emulator")?;
    }
    let status = child.wait().context("cannot wait for the emulator")?;
    drop(lines);
    if reader.join().is_err() {
        bail!("the console could not be read");
    }
    if !in_time {
        bail!(
            "Linux {} did not finish in {} s",
            kernel.release,
            limit.as_secs()
        );
    }
    if !status.success() {
        bail!("{PROGRAM} failed: {status}");
    }
    Ok(())
}
