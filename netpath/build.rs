//! Finds the BPF object that `cargo xtask build` made and hands its path to `datapath::object`.
//!
//! Without one (a plain `cargo check` on a machine without the BPF toolchain) an empty file stands in for it; the
//! daemon then refuses to start and says how to build the object.

use std::{env, fs, io, path::PathBuf};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-env-changed=NETPATH_BPF_OBJECT");
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("netpath.bpf.o");
    match env::var_os("NETPATH_BPF_OBJECT") {
        Some(object) => {
            println!("cargo:rerun-if-changed={}", object.to_string_lossy());
            fs::copy(object, &out)?;
        }
        None => fs::write(&out, [])?,
    }
    Ok(())
}
