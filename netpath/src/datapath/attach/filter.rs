//! Filters of the clsact qdisc, for kernels without TCX.
//!
//! The device keeps the filter when the daemon ends. Its program is pinned below `filters`, which records that the
//! filter is netpath's: the pin is created before the filter and removed after it, so the next daemon
//! finds every filter of a daemon that was killed. Replacing changes the program of the filter atomically.
//!
//! Unlike a TCX link, a filter can be preceded by a later filter of another tool at the same priority. Another tool may
//! replace or delete the filter or the qdisc, which the next reconcile repairs. On kernels with TCX, TCX programs run
//! before every filter.

use std::{
    fs, io, mem,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{self, NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle},
};

use super::{
    super::{DatapathError, pins, programs::refused},
    attach_type, file_name, id,
};
use crate::{
    kernel::{
        filter::{self, Direction, Filter},
        link_index,
    },
    plan::Attachment,
};

/// The priority that runs first.
const PRIORITY: u16 = 1;
/// The handle of netpath's filter at its priority: "np".
const HANDLE: TcHandle = TcHandle::new(0, 0x6e70);

/// Attaches a program as a filter at the highest priority, or replaces the program of netpath's filter.
pub(super) fn attach(
    program: &mut SchedClassifier,
    name: &str,
    attachment: &Attachment,
    index: u32,
    bpf_dir: &Path,
) -> Result<(), DatapathError> {
    let current = id(program, name)?;
    let pin = pins::filter(bpf_dir, attachment);
    ensure_clsact(attachment, index, bpf_dir)?;
    let found = own(attachment, index)?;
    if found.is_none() {
        // A pin without a filter is left over from an earlier daemon or an earlier device.
        pins::remove(&pin)?;
        pin_program(program, &pin)?;
    }
    let attached = match &found {
        Some(filter) if filter.program == Some(current) => Ok(None),
        Some(_) => {
            let hook = attach_type(attachment.hook);
            SchedClassifierLink::attached(&attachment.interface, hook, PRIORITY, HANDLE, None)
                .map_err(|_| DatapathError::NoInterface(attachment.interface.clone()))
                .map(|link| program.attach_to_link(link))?
                .map(Some)
        }
        None => {
            let options = TcAttachOptions::Netlink(NlOptions {
                priority: PRIORITY,
                handle: HANDLE,
                classid: None,
            });
            program
                .attach_with_options(&attachment.interface, attach_type(attachment.hook), options)
                .map(Some)
        }
    };
    if let Some(id) = attached.map_err(|source| refused(name, source))? {
        let link = program
            .take_link(id)
            .map_err(|source| refused(name, source))?;
        // Dropping it would remove the filter.
        mem::forget(link);
    }
    if found.is_some() {
        replace_pin(program, &pin)?;
    }
    Ok(())
}

/// Removes the filter and its pin, and the qdisc if netpath has added it and it has no other filter.
pub(super) fn detach(attachment: &Attachment, bpf_dir: &Path) -> Result<(), DatapathError> {
    let pin = pins::filter(bpf_dir, attachment);
    if !pin.exists() {
        return Ok(());
    }
    if let Some(index) = link_index(&attachment.interface)
        && own(attachment, index)?.is_some()
    {
        let hook = attach_type(attachment.hook);
        let link =
            SchedClassifierLink::attached(&attachment.interface, hook, PRIORITY, HANDLE, None);
        match link {
            Ok(link) => drop(link),
            // The device, and with it the filter, was removed meanwhile.
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
            Err(source) => {
                return Err(DatapathError::Syscall {
                    call: "if_nametoindex",
                    object: attachment.interface.clone(),
                    source,
                });
            }
        }
        if own(attachment, index)?.is_some() {
            return Err(DatapathError::FilterStays(attachment.interface.clone()));
        }
    }
    pins::remove(&pin)?;
    remove_clsact(attachment, bpf_dir)
}

/// The program that the recorded filter runs on the device.
pub(super) fn program(
    attachment: &Attachment,
    index: u32,
    bpf_dir: &Path,
) -> Result<Option<u32>, DatapathError> {
    let pin = pins::filter(bpf_dir, attachment);
    if !pin.exists() {
        return Ok(None);
    }
    Ok(own(attachment, index)?.and_then(|filter| filter.program))
}

/// netpath's filter at a hook: at its priority and handle, with the name of the hook's program.
///
/// # Errors
/// If another tool's filter has this priority and handle.
fn own(attachment: &Attachment, index: u32) -> Result<Option<Filter>, DatapathError> {
    let filters = filter::filters(index, direction(attachment))?;
    let found = filters
        .into_iter()
        .find(|filter| filter.priority == PRIORITY && filter.handle == u32::from(HANDLE));
    match found {
        Some(filter) if filter.name != attachment.program() => Err(DatapathError::ForeignFilter {
            interface: attachment.interface.clone(),
            name: filter.name,
        }),
        found => Ok(found),
    }
}

fn direction(attachment: &Attachment) -> Direction {
    match attach_type(attachment.hook) {
        TcAttachType::Egress => Direction::Egress,
        TcAttachType::Ingress | TcAttachType::Custom(_) => Direction::Ingress,
    }
}

/// Adds the clsact qdisc if the device has none, and records that netpath has added it.
fn ensure_clsact(attachment: &Attachment, index: u32, bpf_dir: &Path) -> Result<(), DatapathError> {
    let interface = &attachment.interface;
    match filter::ingress_qdisc(index)?.as_deref() {
        Some("clsact") => return rename_record(attachment, index, bpf_dir),
        Some(other) => {
            return Err(DatapathError::NoEgressHook {
                interface: interface.clone(),
                qdisc: other.to_owned(),
            });
        }
        None => {}
    }
    let record = clsact_record(attachment, bpf_dir);
    pins::remove(&record)?;
    symlink(index.to_string(), &record).map_err(|source| DatapathError::File {
        action: "create",
        path: record,
        source,
    })?;
    tc::qdisc_add_clsact(interface)
        .map_err(|source| refused(attachment.program(), ProgramError::from(source)))
}

/// Renames the record that netpath has added the qdisc, if the device had another name then.
fn rename_record(attachment: &Attachment, index: u32, bpf_dir: &Path) -> Result<(), DatapathError> {
    let record = clsact_record(attachment, bpf_dir);
    let directory = pins::filters_dir(bpf_dir);
    let target = PathBuf::from(index.to_string());
    if fs::read_link(&record).is_ok() {
        return Ok(());
    }
    for name in pins::file_names(&directory)? {
        let other = directory.join(&name);
        if name.ends_with("-clsact") && fs::read_link(&other).is_ok_and(|found| found == target) {
            return fs::rename(&other, &record).map_err(|source| DatapathError::File {
                action: "rename",
                path: record,
                source,
            });
        }
    }
    Ok(())
}

/// Removes the clsact qdisc if netpath has added it to this device and it has no filter.
fn remove_clsact(attachment: &Attachment, bpf_dir: &Path) -> Result<(), DatapathError> {
    let record = clsact_record(attachment, bpf_dir);
    let Ok(target) = fs::read_link(&record) else {
        return Ok(());
    };
    if let Some(index) = link_index(&attachment.interface) {
        for direction in [Direction::Ingress, Direction::Egress] {
            if !filter::filters(index, direction)?.is_empty() {
                return Ok(());
            }
        }
        if target == Path::new(&index.to_string()) {
            filter::delete_clsact(index)?;
        }
    }
    pins::remove(&record)
}

/// A symbolic link whose target is the index of the device to which netpath has added the qdisc.
fn clsact_record(attachment: &Attachment, bpf_dir: &Path) -> PathBuf {
    pins::filters_dir(bpf_dir).join(pins::device_file(&attachment.interface, "clsact"))
}

fn pin_program(program: &mut SchedClassifier, pin: &Path) -> Result<(), DatapathError> {
    program.pin(pin).map_err(|source| DatapathError::Pin {
        link: file_name(pin),
        source,
    })
}

/// Replaces the pin of the older program by a pin of this one, atomically.
fn replace_pin(program: &mut SchedClassifier, pin: &Path) -> Result<(), DatapathError> {
    let mut new = pin.as_os_str().to_owned();
    new.push("-new");
    let new = PathBuf::from(new);
    pins::remove(&new)?;
    pin_program(program, &new)?;
    fs::rename(&new, pin).map_err(|source: io::Error| DatapathError::File {
        action: "replace",
        path: pin.to_owned(),
        source,
    })
}
