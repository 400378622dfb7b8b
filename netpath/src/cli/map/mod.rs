//! `netpath map`: reads the pinned maps, so that it works while the daemon is down.

mod filter;
mod follow;
mod rows;

use std::{
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use clap::{Args, Subcommand};

use super::{
    Context, Outcome,
    failure::Failure,
    output::{self, Format},
};
use crate::{
    datapath::read::ReadError,
    frontend::http::{tables, v1::MapTable},
};
use filter::{Filter, Filtered};
use follow::Follower;
use rows::Tracked;

/// Pinned maps
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  netpath map dump nat --sandbox web")]
pub(super) enum Command {
    /// List every pinned map
    #[command(after_help = "Example:\n  netpath map ls", visible_alias = "list")]
    Ls {
        #[command(flatten)]
        pins: Pins,
    },
    /// Show the rows of a table
    #[command(after_help = "Example:\n  netpath map dump nat --sandbox web --protocol tcp")]
    Dump(Dump),
}

#[derive(Debug, Args)]
pub(super) struct Pins {
    /// Directory for pinned maps [default: that of the daemon with this socket, running or not]
    #[arg(long, value_name = "DIR")]
    bpf_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Dump {
    /// Table
    #[arg(value_enum, default_value_t)]
    table: MapTable,
    #[command(flatten)]
    filter: Filter,
    /// Print changes, every second
    #[arg(long)]
    follow: bool,
    #[command(flatten)]
    pins: Pins,
}

impl Dump {
    /// Which table.
    #[cfg(test)]
    pub(super) fn table(&self) -> MapTable {
        self.table
    }
}

/// Executes `command`.
pub(super) fn execute(context: &Context, command: Command) -> Outcome {
    match command {
        Command::Ls { pins } => {
            let maps = {
                let directory = context.pins(pins.bpf_dir.as_deref());
                tables::maps(&directory).map_err(|error| failed("map ls", &directory, error))?
            };
            output::rows(context.format, &maps)?;
        }
        Command::Dump(arguments) => match arguments.table {
            MapTable::Nat => dump_rows(context, &arguments, tables::nat)?,
            MapTable::Ports => dump_rows(context, &arguments, tables::ports)?,
            MapTable::Endpoints => dump_rows(context, &arguments, tables::endpoints)?,
            MapTable::Networks => dump_rows(context, &arguments, tables::networks)?,
            MapTable::Counters => dump_rows(context, &arguments, tables::counters)?,
            MapTable::Peers => dump_nothing(context, "overlay networks are not supported yet")?,
            MapTable::Fragments => dump_rows(context, &arguments, tables::fragments)?,
        },
    }
    Ok(0)
}

fn dump_rows<R: Tracked + Filtered>(
    context: &Context,
    arguments: &Dump,
    read: fn(&Path) -> Result<Vec<R>, ReadError>,
) -> Result<(), Failure> {
    arguments.filter.check::<R>(arguments.table)?;
    let directory = context.pins(arguments.pins.bpf_dir.as_deref());
    let read = || {
        let mut rows = read(&directory).map_err(|error| failed("map dump", &directory, error))?;
        rows.retain(|row| arguments.filter.admits(row));
        rows.sort_by_cached_key(Tracked::key);
        Ok(rows)
    };
    if arguments.follow {
        let mut follower = Follower::new(context.format);
        loop {
            output::text(&follower.next(read()?))?;
            thread::sleep(Duration::from_secs(1));
        }
    }
    let rows = read()?;
    output::rows(context.format, &rows)?;
    if context.format == Format::Table {
        output::text(&R::totals(&rows))?;
    }
    Ok(())
}

fn dump_nothing(context: &Context, why: &str) -> Result<(), Failure> {
    match context.format {
        Format::Json => output::json(&[(); 0]),
        Format::Table => {
            output::complain(&format!("netpath: map dump: {why}\n"));
            Ok(())
        }
    }
}

fn failed(action: &'static str, directory: &Path, error: ReadError) -> Failure {
    Failure::new(action, directory.display().to_string(), error)
        .advice("start the daemon, or name its directory with --bpf-dir")
}
