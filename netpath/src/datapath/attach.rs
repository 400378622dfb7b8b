//! Programs on devices and on the cgroup.
//!
//! A link is pinned the moment it exists, so a program stays when the daemon goes. Replacing a program updates the
//! pinned link in one step: no packet passes without one.

use std::{fs::File, os::fd::AsFd as _, path::Path};

use aya::programs::{
    CgroupAttachMode, LinkOrder, TcAttachType,
    links::{FdLink, PinnedLink},
    tc::TcAttachOptions,
};

use super::{
    Datapath, DatapathError,
    load::{SOCKET_PROGRAMS, classifier, program_of, refused, socket_program},
    pins, sys,
};
use crate::plan::{Attachment, Hook};

impl Datapath {
    /// Attaches a program to a device, or replaces the older one there.
    ///
    /// It comes first in the device's chain: what another tool lets pass must not leave with a private source.
    ///
    /// # Errors
    /// If the interface is gone or the kernel refuses.
    pub fn attach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        let interface = &attachment.interface;
        let index =
            sys::ifindex(interface).ok_or_else(|| DatapathError::NoInterface(interface.clone()))?;
        let pin = pins::link(&self.bpf_dir, attachment);
        let name = program_of(attachment.hook);
        let program = classifier(&mut self.ebpf, name)?;
        let current = program.info().map_err(|source| refused(name, source))?.id();
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
                // The pin keeps the link; this handle on it may go.
                program
                    .take_link(id)
                    .map_err(|source| refused(name, source))?;
                return Ok(());
            }
            // Its device is gone, even if another one has the name now.
            pins::remove(&pin)?;
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let id = program
            .attach_with_options(interface, attach_type(attachment.hook), options)
            .map_err(|source| refused(name, source))?;
        let link = program
            .take_link(id)
            .map_err(|source| refused(name, source))?;
        let link: FdLink = link.try_into().map_err(|source| link_error(&pin, source))?;
        link.pin(&pin).map_err(|source| DatapathError::Pin {
            link: file_name(&pin),
            source,
        })?;
        Ok(())
    }

    /// Takes a program off a device; absence is success.
    ///
    /// # Errors
    /// If the pin cannot be removed.
    pub fn detach(&self, attachment: &Attachment) -> Result<(), DatapathError> {
        pins::remove(&pins::link(&self.bpf_dir, attachment))
    }

    /// Whether a device has the running program at a hook.
    ///
    /// # Errors
    /// If the pin cannot be read.
    pub fn is_attached(&mut self, attachment: &Attachment) -> Result<bool, DatapathError> {
        let Some(index) = sys::ifindex(&attachment.interface) else {
            return Ok(false);
        };
        let name = program_of(attachment.hook);
        let current = classifier(&mut self.ebpf, name)?
            .info()
            .map_err(|source| refused(name, source))?
            .id();
        let target = pinned(&pins::link(&self.bpf_dir, attachment))?.map(|(_, target)| target);
        Ok(target.is_some_and(|target| target.ifindex == index && target.program == current))
    }

    /// Every attachment that has a pin, whether or not its device is still there.
    ///
    /// # Errors
    /// If the directory cannot be read.
    pub fn pinned_attachments(&self) -> Result<Vec<Attachment>, DatapathError> {
        let names = pins::file_names(&pins::links_dir(&self.bpf_dir))?;
        Ok(names
            .iter()
            .filter_map(|name| pins::attachment(name))
            .collect())
    }

    /// Attaches the programs for sockets of host processes to a cgroup, or replaces the older ones there.
    ///
    /// # Errors
    /// If the cgroup cannot be opened or the kernel refuses.
    pub fn attach_sockets(&mut self, cgroup: &Path) -> Result<(), DatapathError> {
        let directory = File::open(cgroup).map_err(|source| DatapathError::File {
            action: "open",
            path: cgroup.to_owned(),
            source,
        })?;
        for name in SOCKET_PROGRAMS {
            let pin = pins::cgroup_link(&self.bpf_dir, name);
            let program = socket_program(&mut self.ebpf, name)?;
            // aya cannot update a cgroup's link. A second one beside the old covers the moment between: both do the
            // same, and what the first has redirected is no address of the node any more.
            let id = program
                .attach(directory.as_fd(), CgroupAttachMode::Single)
                .map_err(|source| refused(name, source))?;
            let link = program
                .take_link(id)
                .map_err(|source| refused(name, source))?;
            let link: FdLink = link.try_into().map_err(|source| link_error(&pin, source))?;
            pins::remove(&pin)?;
            link.pin(&pin).map_err(|source| DatapathError::Pin {
                link: file_name(&pin),
                source,
            })?;
        }
        Ok(())
    }
}

/// Whether every program for sockets has a pinned link.
///
/// # Errors
/// If the directory cannot be read.
pub fn sockets_attached(bpf_dir: &Path) -> Result<bool, DatapathError> {
    let names = pins::file_names(&pins::links_dir(bpf_dir))?;
    Ok(SOCKET_PROGRAMS
        .iter()
        .all(|program| names.contains(&format!("cgroup-{program}"))))
}

/// The programs for sockets of host processes.
pub fn socket_programs() -> impl Iterator<Item = &'static str> {
    SOCKET_PROGRAMS.into_iter()
}

/// Whether a pinned link still has its device.
///
/// # Errors
/// If the pin cannot be read.
pub fn is_alive(bpf_dir: &Path, attachment: &Attachment) -> Result<bool, DatapathError> {
    let target = pinned(&pins::link(bpf_dir, attachment))?.map(|(_, target)| target);
    Ok(target.is_some_and(|target| {
        target.ifindex != 0 && sys::ifindex(&attachment.interface) == Some(target.ifindex)
    }))
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

const fn attach_type(hook: Hook) -> TcAttachType {
    match hook {
        Hook::UplinkIngress | Hook::EndpointIngress => TcAttachType::Ingress,
        Hook::UplinkEgress | Hook::EndpointEgress => TcAttachType::Egress,
    }
}

fn link_error(pin: &Path, source: aya::programs::links::LinkError) -> DatapathError {
    DatapathError::Link {
        link: file_name(pin),
        source,
    }
}

fn file_name(pin: &Path) -> String {
    pin.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
