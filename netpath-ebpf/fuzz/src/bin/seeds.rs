//! Writes the seeds of the corpus to a directory.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    let directory = env::args_os()
        .nth(1)
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other("usage: seeds DIRECTORY"))?;
    fs::create_dir_all(&directory)?;
    for (name, bytes) in netpath_fuzz::seeds::all() {
        fs::write(directory.join(name), bytes)?;
    }
    Ok(())
}
