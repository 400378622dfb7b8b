//! Sysctls. Those that exist per network namespace are the ones of the calling thread's namespace.
//!
//! Keys are paths below `/proc/sys`: with dots, interface names that contain one would be ambiguous.

use std::{fs, path::Path};

use super::Error;

/// The value of `key`, without the final newline.
pub fn read(key: &str) -> Result<String, Error> {
    let path = path(key);
    fs::read_to_string(&path)
        .map(|text| text.trim_end().to_owned())
        .map_err(|source| Error::syscall("read", path, source))
}

/// The value of `key` as whole numbers: one, or several with white space between them.
pub fn read_numbers(key: &str) -> Result<Vec<u64>, Error> {
    let text = read(key)?;
    text.split_ascii_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()
        .map_err(|_| Error::Format {
            path: path(key),
            expected: "whole numbers",
            found: text.clone(),
        })
}

/// Whether the stack forwards packets of a family (`ipv4` or `ipv6`) that arrive on an interface; false if the interface
/// does not exist.
pub fn forwards(family: &str, interface: &str) -> bool {
    let value = read(&format!("net/{family}/conf/{interface}/forwarding"));
    value.is_ok_and(|value| value != "0")
}

/// Sets `key`.
pub fn write(key: &str, value: &str) -> Result<(), Error> {
    let path = path(key);
    fs::write(&path, value).map_err(|source| Error::syscall("write", path, source))
}

/// Sets `key` unless it has that value: for some keys, writing the current value has effects.
pub fn ensure(key: &str, value: &str) -> Result<(), Error> {
    if read(key)? == value {
        return Ok(());
    }
    write(key, value)
}

/// Whether IPv6 is enabled in the kernel.
pub fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn path(key: &str) -> String {
    format!("/proc/sys/{key}")
}
