//! Copies the BPF object that `cargo xtask build` has built to the build directory, where `datapath::object` includes
//! it.
//!
//! If `NETPATH_BPF_OBJECT` is not set (a plain `cargo check` without the BPF toolchain), the copy is an empty file. The
//! daemon then refuses to start, and the error states how to build the object.

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
