//! TCX links (Linux 6.6).

use std::{fs, io, os::fd::AsFd as _, path::Path};

use aya::programs::{
    LinkOrder, ProgramError, SchedClassifier,
    links::{FdLink, PinnedLink},
    tc::TcAttachOptions,
};

use super::{
    super::{DatapathError, pins, programs::refused, sys},
    attach_type, file_name, id, link_error,
    socket::keep,
};
use crate::plan::Attachment;

/// Attaches a program first in the device's chain and pins the link, or updates the pinned link.
pub(super) fn attach(
    program: &mut SchedClassifier,
    name: &str,
    attachment: &Attachment,
    index: u32,
    bpf_dir: &Path,
) -> Result<(), DatapathError> {
    let pin = pins::link(bpf_dir, attachment);
    let current = id(program, name)?;
    if let Some((link, target)) = pinned(&pin)? {
        if target.ifindex == index && target.program == current {
            return Ok(());
        }
        if target.ifindex == index {
            let link = FdLink::from(link)
                .try_into()
                .map_err(|source| link_error(&pin, source))?;
            let id = program
                .attach_to_link(link)
                .map_err(|source| refused(name, source))?;
            // The pin keeps the link attached, so this handle is dropped.
            program
                .take_link(id)
                .map_err(|source| refused(name, source))?;
            return Ok(());
        }
        // The link's device was removed; another device may have the same name now.
        pins::remove(&pin)?;
    }
    let options = TcAttachOptions::TcxOrder(LinkOrder::first());
    let hook = attach_type(attachment.hook);
    let id = match program.attach_with_options(&attachment.interface, hook, options) {
        // The program is attached already, by a link that was pinned under an earlier name of the device.
        Err(ProgramError::SyscallError(error))
            if error.io_error.kind() == io::ErrorKind::AlreadyExists
                && rename_pin(attachment, index, bpf_dir)? =>
        {
            return Ok(());
        }
        attached => attached.map_err(|source| refused(name, source))?,
    };
    let link = program
        .take_link(id)
        .map_err(|source| refused(name, source))?;
    let link = link.try_into().map_err(|source| link_error(&pin, source))?;
    keep(link, &pin)
}

/// Renames the pin of the link that runs the program on the device under an earlier name. `false` if there is none.
fn rename_pin(attachment: &Attachment, index: u32, bpf_dir: &Path) -> Result<bool, DatapathError> {
    for file in pins::file_names(&pins::links_dir(bpf_dir))? {
        let Some(other) = pins::attachment(&file) else {
            continue;
        };
        if other.program() == attachment.program() && program(&other, index, bpf_dir)?.is_some() {
            let pin = pins::link(bpf_dir, attachment);
            fs::rename(pins::link(bpf_dir, &other), &pin).map_err(|source| {
                DatapathError::File {
                    action: "rename",
                    path: pin,
                    source,
                }
            })?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The program that the pinned link runs on the device.
pub(super) fn program(
    attachment: &Attachment,
    index: u32,
    bpf_dir: &Path,
) -> Result<Option<u32>, DatapathError> {
    let target = pinned(&pins::link(bpf_dir, attachment))?.map(|(_, target)| target);
    Ok(target
        .filter(|target| target.ifindex == index)
        .map(|target| target.program))
}

fn pinned(pin: &Path) -> Result<Option<(PinnedLink, sys::LinkTarget)>, DatapathError> {
    if !pin.exists() {
        return Ok(None);
    }
    let link = PinnedLink::from_pin(pin).map_err(|source| link_error(pin, source))?;
    let fd = sys::open_pin(pin).map_err(|source| DatapathError::Syscall {
        call: "BPF_OBJ_GET",
        object: file_name(pin),
        source,
    })?;
    let target = sys::link_target(fd.as_fd()).map_err(|source| DatapathError::Syscall {
        call: "BPF_OBJ_GET_INFO_BY_FD",
        object: file_name(pin),
        source,
    })?;
    Ok(Some((link, target)))
}
