//! The process that owns a socket.

use std::{collections::HashSet, fs, path::Path};

/// The process that has a socket open, as `nginx (pid 123)`; `None` if none is found, which happens when it runs in
/// another process namespace. Reads every descriptor of every process.
pub fn owner(inode: u64) -> Option<String> {
    let target = format!("socket:[{inode}]");
    let process = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .find(|process| is_process(process) && has_open(process, &target))?;
    let pid = process.file_name()?.to_str()?;
    let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
    Some(format!("{} (pid {pid})", name.trim_end()))
}

/// Inodes of the sockets that processes with one of these names have open.
pub fn sockets_of(programs: &[&str]) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in processes.map(|entry| entry.path()) {
        let name = fs::read_to_string(process.join("comm")).unwrap_or_default();
        if !programs.contains(&name.trim_end()) {
            continue;
        }
        let descriptors = fs::read_dir(process.join("fd"));
        let descriptors = descriptors.into_iter().flatten().flatten();
        inodes.extend(
            descriptors
                .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
                .filter_map(|link| {
                    let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
                    inode.parse::<u64>().ok()
                }),
        );
    }
    inodes
}

fn is_process(path: &Path) -> bool {
    path.file_name()
        .and_then(|name| name.to_str())
        .is_some_and(|name| name.bytes().all(|byte| byte.is_ascii_digit()))
}

fn has_open(process: &Path, target: &str) -> bool {
    fs::read_dir(process.join("fd")).is_ok_and(|descriptors| {
        descriptors
            .flatten()
            .filter_map(|descriptor| fs::read_link(descriptor.path()).ok())
            .any(|link| link.as_os_str() == target)
    })
}
