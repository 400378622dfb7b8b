//! Programs on devices and on the cgroup.
//!
//! A link is pinned the moment it exists, so a program stays when the daemon goes. Replacing a program updates the
//! pinned link in one step: no packet passes without one.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

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
        let link = link.try_into().map_err(|source| link_error(&pin, source))?;
        keep(link, &pin)
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
        self.cgroup = Some(cgroup.to_owned());
        SOCKET_PROGRAMS
            .iter()
            .try_for_each(|name| self.attach_socket(name))
    }

    /// Attaches one of the programs for sockets, or replaces the older one.
    ///
    /// # Errors
    /// If the cgroup cannot be opened or the kernel refuses.
    pub fn attach_socket(&mut self, name: &str) -> Result<(), DatapathError> {
        let Some(cgroup) = self.cgroup.clone() else {
            return Ok(());
        };
        let directory = File::open(&cgroup).map_err(|source| file_error(&cgroup, source))?;
        let id = cgroup_id(&cgroup)?;
        let pin = pins::cgroup_link(&self.bpf_dir, name);
        let program = socket_program(&mut self.ebpf, name)?;
        let current = program.info().map_err(|source| refused(name, source))?.id();
        match socket_pinned(&pin)? {
            Some((_, target)) if target.cgroup == id && target.program == current => return Ok(()),
            Some((link, target)) if target.cgroup == id => {
                let new = program.fd().map_err(|source| refused(name, source))?;
                return sys::update_link(link.as_fd(), new.as_fd()).map_err(|source| {
                    DatapathError::Syscall {
                        call: "BPF_LINK_UPDATE",
                        object: file_name(&pin),
                        source,
                    }
                });
            }
            // Detached by force, or from another cgroup.
            Some(_) => pins::remove(&pin)?,
            None => {}
        }
        let id = program
            .attach(directory.as_fd(), CgroupAttachMode::Single)
            .map_err(|source| refused(name, source))?;
        let link = program
            .take_link(id)
            .map_err(|source| refused(name, source))?;
        let link = link.try_into().map_err(|source| link_error(&pin, source))?;
        keep(link, &pin)
    }

    /// The programs for sockets that are not attached to the cgroup, or not in the running version.
    ///
    /// # Errors
    /// If the cgroup or a pin cannot be read.
    pub fn missing_sockets(&mut self) -> Result<Vec<&'static str>, DatapathError> {
        let Some(cgroup) = &self.cgroup else {
            return Ok(Vec::new());
        };
        let cgroup = cgroup_id(cgroup)?;
        let mut missing = Vec::new();
        for name in SOCKET_PROGRAMS {
            let pin = pins::cgroup_link(&self.bpf_dir, name);
            let program = socket_program(&mut self.ebpf, name)?
                .info()
                .map_err(|source| refused(name, source))?
                .id();
            let right = sys::SocketTarget { cgroup, program };
            if socket_pinned(&pin)?.is_none_or(|(_, target)| target != right) {
                missing.push(name);
            }
        }
        Ok(missing)
    }
}

impl Datapath {
    /// The maps whose pins somebody has removed: the next daemon would start with empty ones.
    pub fn missing_maps(&self) -> Vec<String> {
        let maps = pins::maps_dir(&self.bpf_dir);
        let pinned = self.pinned.iter();
        pinned
            .filter(|name| !maps.join(name).exists())
            .cloned()
            .collect()
    }

    /// Pins a map again.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn pin_map(&self, name: &str) -> Result<(), DatapathError> {
        let Some(map) = self.ebpf.map(name) else {
            return Err(DatapathError::Missing(format!("map {name}")));
        };
        pins::prepare(&self.bpf_dir)?;
        let pin = pins::maps_dir(&self.bpf_dir).join(name);
        map.pin(pin).map_err(|source| DatapathError::Pin {
            link: format!("map {name}"),
            source,
        })
    }
}

/// The number by which the kernel knows a cgroup: the inode of its directory.
fn cgroup_id(cgroup: &Path) -> Result<u64, DatapathError> {
    std::fs::metadata(cgroup)
        .map(|metadata| metadata.ino())
        .map_err(|source| file_error(cgroup, source))
}

fn file_error(path: &Path, source: std::io::Error) -> DatapathError {
    DatapathError::File {
        action: "open",
        path: path.to_owned(),
        source,
    }
}

fn socket_pinned(pin: &Path) -> Result<Option<(OwnedFd, sys::SocketTarget)>, DatapathError> {
    if !pin.exists() {
        return Ok(None);
    }
    let failed = |call| {
        move |source| DatapathError::Syscall {
            call,
            object: file_name(pin),
            source,
        }
    };
    let link = sys::open_pin(pin).map_err(failed("BPF_OBJ_GET"))?;
    let target = sys::socket_target(link.as_fd()).map_err(failed("BPF_OBJ_GET_INFO_BY_FD"))?;
    Ok(Some((link, target)))
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

/// Pins a link, so that it stays when the daemon goes.
fn keep(link: FdLink, pin: &Path) -> Result<(), DatapathError> {
    let pinned = link.pin(pin);
    pinned.map(drop).map_err(|source| DatapathError::Pin {
        link: file_name(pin),
        source,
    })
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
