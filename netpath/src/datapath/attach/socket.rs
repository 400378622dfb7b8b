//! Programs for sockets of host processes, on a cgroup.

use std::{
    fs::File,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::Path,
};

use aya::programs::{CgroupAttachMode, links::FdLink};

use super::{
    super::{
        Datapath, DatapathError, pins,
        programs::{SOCKET_PROGRAMS, refused, socket_program},
        sys,
    },
    file_name, link_error,
};

impl Datapath {
    /// Attaches the programs for sockets of host processes to a cgroup, or replaces the attached ones.
    ///
    /// # Errors
    /// If the cgroup cannot be opened or the kernel refuses.
    pub fn attach_sockets(&mut self, cgroup: &Path) -> Result<(), DatapathError> {
        self.cgroup = Some(cgroup.to_owned());
        socket_programs().try_for_each(|name| self.attach_socket(name))
    }

    /// Attaches one of the programs for sockets, or replaces the attached one.
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
            // The link was detached by force, or is attached to another cgroup.
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

    /// The programs for sockets that are not attached to the cgroup, or attached in another version than the loaded one.
    ///
    /// # Errors
    /// If the cgroup or a pin cannot be read.
    pub fn missing_sockets(&mut self) -> Result<Vec<&'static str>, DatapathError> {
        let Some(cgroup) = &self.cgroup else {
            return Ok(Vec::new());
        };
        let cgroup = cgroup_id(cgroup)?;
        let mut missing = Vec::new();
        for name in socket_programs() {
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

/// The kernel's id of a cgroup: the inode of its directory.
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
    SOCKET_PROGRAMS.into_iter().map(|(name, _)| name)
}

/// Pins a link, so that it remains attached when the daemon ends.
pub(super) fn keep(link: FdLink, pin: &Path) -> Result<(), DatapathError> {
    let pinned = link.pin(pin);
    pinned.map(drop).map_err(|source| DatapathError::Pin {
        link: file_name(pin),
        source,
    })
}
