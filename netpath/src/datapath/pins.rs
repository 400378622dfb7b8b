//! Layout of the directory for pins.
//!
//! ```text
//! <bpf-dir>/maps-v<SCHEMA_VERSION>/<map>
//! <bpf-dir>/programs-<number>/<program>    loaded programs; the number identifies the object and the maps
//! <bpf-dir>/links/<interface>-<program>    '.' in interface names is written '%2e': bpffs forbids dots
//! <bpf-dir>/links/<interface>-xdp_native   or xdp_generic
//! <bpf-dir>/links/cgroup-<program>
//! <bpf-dir>/filters/<interface>-<program>  the program of a filter, on kernels without TCX
//! <bpf-dir>/filters/<interface>-clsact     symbolic link; its target is the index of the device to which netpath added the qdisc
//! ```

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use aya::maps::MapData;
use netpath_common::maps::SCHEMA_VERSION;

use super::DatapathError;
use crate::{
    kernel::VETH_PREFIX,
    plan::{Attachment, Hook, LinkHeader},
};

/// Directory of this version's maps.
pub fn maps_dir(bpf_dir: &Path) -> PathBuf {
    bpf_dir.join(format!("maps-v{SCHEMA_VERSION}"))
}

/// Directory of the loaded programs of an object.
pub(super) fn programs_dir(bpf_dir: &Path, object: u64) -> PathBuf {
    bpf_dir.join(format!("{PROGRAMS}{object:016x}"))
}

/// Start of the names of directories of loaded programs.
const PROGRAMS: &str = "programs-";

/// Directory of links.
pub fn links_dir(bpf_dir: &Path) -> PathBuf {
    bpf_dir.join("links")
}

/// Directory of the programs of filters.
pub fn filters_dir(bpf_dir: &Path) -> PathBuf {
    bpf_dir.join("filters")
}

/// Path of a link's pin.
pub fn link(bpf_dir: &Path, attachment: &Attachment) -> PathBuf {
    links_dir(bpf_dir).join(device_file(&attachment.interface, attachment.program()))
}

/// Path of the pin of a filter's program.
pub fn filter(bpf_dir: &Path, attachment: &Attachment) -> PathBuf {
    filters_dir(bpf_dir).join(device_file(&attachment.interface, attachment.program()))
}

/// Name of the file that records `what` about a device.
pub fn device_file(interface: &str, what: &str) -> String {
    let interface = interface.replace('%', "%25").replace('.', "%2e");
    format!("{interface}-{what}")
}

/// The attachment that the file name of a pin denotes; `None` for a socket program's link.
pub fn attachment(file_name: &str) -> Option<Attachment> {
    programs().find_map(|(hook, header)| {
        let interface = file_name
            .strip_suffix(hook.program_for(header))?
            .strip_suffix('-')?;
        Some(Attachment {
            interface: interface.replace("%2e", ".").replace("%25", "%"),
            hook,
            header,
        })
    })
}

/// Every hook with every link header. Several of them have the same program.
fn programs() -> impl Iterator<Item = (Hook, LinkHeader)> {
    let hooks = Hook::ALL.into_iter();
    hooks.flat_map(|hook| LinkHeader::ALL.map(|header| (hook, header)))
}

/// Path of a cgroup program's link.
pub fn cgroup_link(bpf_dir: &Path, program: &str) -> PathBuf {
    links_dir(bpf_dir).join(format!("cgroup-{program}"))
}

/// Creates the directories; refuses pins of another schema version.
///
/// # Errors
/// If the directory is not on bpffs, cannot be created, or contains maps of another version.
pub fn prepare(bpf_dir: &Path) -> Result<(), DatapathError> {
    for directory in [
        bpf_dir,
        &links_dir(bpf_dir),
        &filters_dir(bpf_dir),
        &maps_dir(bpf_dir),
    ] {
        fs::create_dir_all(directory).map_err(|source| DatapathError::File {
            action: "create",
            path: directory.to_owned(),
            source,
        })?;
    }
    if !is_bpffs(bpf_dir) {
        return Err(DatapathError::NotBpffs(bpf_dir.to_owned()));
    }
    for name in file_names(bpf_dir)? {
        if name.starts_with("maps-v") && bpf_dir.join(&name) != maps_dir(bpf_dir) {
            return Err(DatapathError::OtherVersion(bpf_dir.join(name)));
        }
    }
    Ok(())
}

/// Whether anything is pinned below the directory.
///
/// # Errors
/// If it cannot be read.
pub fn exist(bpf_dir: &Path) -> Result<bool, DatapathError> {
    for directory in [links_dir(bpf_dir), filters_dir(bpf_dir), maps_dir(bpf_dir)] {
        if !file_names(&directory)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a program of a sandbox is pinned.
///
/// # Errors
/// If the directory cannot be read.
pub fn exist_of_sandboxes(bpf_dir: &Path) -> Result<bool, DatapathError> {
    for directory in [links_dir(bpf_dir), filters_dir(bpf_dir)] {
        let names = file_names(&directory)?;
        let mut attachments = names.iter().filter_map(|name| attachment(name));
        if attachments.any(|attachment| attachment.interface.starts_with(VETH_PREFIX)) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Removes netpath's pins below the directory, including those of other schema versions, and the directory if it is then
/// empty. The kernel detaches links and frees maps that have no other reference. Succeeds if there are no pins.
///
/// # Errors
/// If a pin cannot be removed.
pub fn remove_all(bpf_dir: &Path) -> Result<(), DatapathError> {
    for directory in file_names(bpf_dir)? {
        let known = matches!(directory.as_str(), "links" | "filters");
        let starts = ["maps-v", PROGRAMS];
        if known || starts.iter().any(|start| directory.starts_with(start)) {
            remove_directory(bpf_dir.join(directory))?;
        }
    }
    match fs::remove_dir(bpf_dir) {
        // The directory may be a mount point, or contain pins of other programs.
        Err(error)
            if !matches!(
                error.raw_os_error(),
                Some(libc::ENOENT | libc::EBUSY | libc::ENOTEMPTY | libc::EPERM)
            ) =>
        {
            Err(DatapathError::File {
                action: "remove",
                path: bpf_dir.to_owned(),
                source: error,
            })
        }
        _ => Ok(()),
    }
}

/// Removes the directories of loaded programs for which `obsolete` is true.
///
/// # Errors
/// If a pin or a directory cannot be removed.
pub(super) fn remove_programs(
    bpf_dir: &Path,
    obsolete: impl Fn(&Path) -> bool,
) -> Result<(), DatapathError> {
    for name in file_names(bpf_dir)? {
        let directory = bpf_dir.join(&name);
        if name.starts_with(PROGRAMS) && obsolete(&directory) {
            remove_directory(directory)?;
        }
    }
    Ok(())
}

/// Removes a directory with its pins.
fn remove_directory(directory: PathBuf) -> Result<(), DatapathError> {
    for name in file_names(&directory)? {
        remove(&directory.join(name))?;
    }
    fs::remove_dir(&directory).map_err(|source| DatapathError::File {
        action: "remove",
        path: directory,
        source,
    })
}

/// Opens a pinned map.
///
/// # Errors
/// If there is no such pin, or it is not a map.
pub(super) fn open_map(maps: &Path, name: &'static str) -> Result<MapData, DatapathError> {
    MapData::from_pin(maps.join(name)).map_err(|source| DatapathError::Map { map: name, source })
}

/// Removes a pin; succeeds if it does not exist.
///
/// # Errors
/// If it cannot be removed.
pub fn remove(pin: &Path) -> Result<(), DatapathError> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DatapathError::File {
            action: "remove",
            path: pin.to_owned(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// Names of the files in a directory; empty if it does not exist.
///
/// # Errors
/// If it cannot be read.
pub fn file_names(directory: &Path) -> Result<Vec<String>, DatapathError> {
    let failed = |source| DatapathError::File {
        action: "read",
        path: directory.to_owned(),
        source,
    };
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    entries
        .map(|entry| {
            Ok(entry
                .map_err(failed)?
                .file_name()
                .to_string_lossy()
                .into_owned())
        })
        .collect()
}

/// Whether a path is on a BPF file system.
pub fn is_bpffs(path: &Path) -> bool {
    nix::sys::statfs::statfs(path)
        .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pin_name_identifies_attachment() {
        for interface in [
            "eth0",
            "npv-0123456789",
            "eth0.100",
            "a%2eb",
            "x-endpoint_in",
        ] {
            let with_header = Hook::ALL.map(|hook| Attachment::new(interface, hook));
            let without = [Hook::UplinkIngress, Hook::UplinkEgress].map(|hook| Attachment {
                header: LinkHeader::None,
                ..Attachment::new(interface, hook)
            });
            for before in with_header.into_iter().chain(without) {
                let path = link(Path::new("/b"), &before);
                let name = path
                    .file_name()
                    .and_then(|name| name.to_str())
                    .unwrap_or_default();
                assert!(!name.contains('.'), "{name}");
                assert_eq!(attachment(name), Some(before));
            }
        }
        assert_eq!(attachment("cgroup-connect4"), None);
    }
}
