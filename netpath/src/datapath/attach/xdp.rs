//! The programs `xdp_deny` and `xdp_deny_skb` at interfaces of the node, by pinned links (Linux 5.9).
//!
//! XDP only saves time: the program at the ingress hook checks the deny list too. So an interface that refuses XDP is reported,
//! and the daemon continues.

use std::{collections::BTreeMap, error::Error as _, fs, os::fd::AsFd as _, path::Path};

use aya::programs::{self, ProgramError, XdpMode, links::FdLink};
use netpath_common::hook::{Hook, LinkHeader};

use super::{
    super::{
        Datapath, DatapathError, pins,
        programs::{program, refused},
        sys,
    },
    file_name, link_error,
    socket::keep,
};
use crate::plan::Attachment;

/// Where XDP programs run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Xdp {
    /// In the driver.
    Native,
    /// In the stack, for drivers without support.
    Generic,
}

impl Xdp {
    const ALL: [Self; 2] = [Self::Native, Self::Generic];

    /// The name that `status` shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Native => "xdp-native",
            Self::Generic => "xdp-generic",
        }
    }

    /// Name of its program.
    const fn program(self) -> &'static str {
        match self {
            Self::Native => "xdp_deny",
            Self::Generic => "xdp_deny_skb",
        }
    }

    /// The last part of the names of its pins.
    const fn pin(self) -> &'static str {
        match self {
            Self::Native => "xdp_native",
            Self::Generic => "xdp_generic",
        }
    }

    const fn mode(self) -> XdpMode {
        match self {
            Self::Native => XdpMode::Driver,
            Self::Generic => XdpMode::Skb,
        }
    }
}

/// Which interfaces use XDP.
#[derive(Debug, Default)]
pub struct XdpState {
    /// `None` if it is off.
    wanted: Option<Xdp>,
    /// Why interfaces refuse it, by interface index.
    refusals: BTreeMap<u32, String>,
}

impl Datapath {
    /// Sets where XDP runs from now on; `None` for nowhere.
    ///
    /// # Errors
    /// If the kernel rejects the program.
    pub fn set_xdp(&mut self, wanted: Option<Xdp>) -> Result<(), DatapathError> {
        if let Some(mode) = wanted {
            let program = xdp_program(&mut self.ebpf, mode)?;
            let loaded = program.load();
            loaded.map_err(|source| refused(mode.program(), source))?;
        }
        self.xdp = XdpState {
            wanted,
            refusals: BTreeMap::new(),
        };
        Ok(())
    }

    /// Where XDP runs at the interface of an attachment; `None` if it is off there, or the interface refuses it.
    pub fn xdp_at(&self, attachment: &Attachment, index: u32) -> Option<Xdp> {
        let wanted = self.xdp.wanted?;
        (is_possible(attachment) && !self.xdp.refusals.contains_key(&index)).then_some(wanted)
    }

    /// Why interfaces do not use XDP although it is on, by interface index.
    pub fn xdp_refusals(&self) -> &BTreeMap<u32, String> {
        &self.xdp.refusals
    }

    /// Whether XDP runs at the interface of an attachment as the setting `xdp` requires.
    ///
    /// # Errors
    /// If a pin cannot be read.
    pub(super) fn is_xdp_right(
        &mut self,
        attachment: &Attachment,
        index: u32,
    ) -> Result<bool, DatapathError> {
        if attachment.hook != Hook::UplinkIngress {
            return Ok(true);
        }
        let wanted = self.xdp_at(attachment, index);
        for mode in Xdp::ALL {
            let pin = pin(&self.bpf_dir, &attachment.interface, mode);
            if wanted == Some(mode) {
                let info = xdp_program(&mut self.ebpf, mode)?.info();
                let current = info.map_err(|source| refused(mode.program(), source))?.id();
                if target(&pin)?
                    .is_none_or(|found| (found.ifindex, found.program) != (index, current))
                {
                    return Ok(false);
                }
            } else if pin.exists() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Attaches, updates or detaches the program at the interface of an attachment.
    ///
    /// # Errors
    /// If a pin cannot be read, written or removed.
    pub(super) fn set_xdp_at(
        &mut self,
        attachment: &Attachment,
        index: u32,
    ) -> Result<(), DatapathError> {
        if attachment.hook != Hook::UplinkIngress {
            return Ok(());
        }
        let wanted = self.xdp_at(attachment, index);
        for mode in Xdp::ALL {
            if wanted != Some(mode) {
                pins::remove(&pin(&self.bpf_dir, &attachment.interface, mode))?;
            }
        }
        let Some(mode) = wanted else { return Ok(()) };
        match self.attach_xdp(&attachment.interface, index, mode) {
            Err(DatapathError::Program { source, .. }) => {
                let reason = cause(&source);
                let interface = &attachment.interface;
                tracing::warn!(%interface, %reason, "cannot use XDP; the deny list is checked in TC");
                self.xdp.refusals.insert(index, reason);
                Ok(())
            }
            result => result,
        }
    }

    fn attach_xdp(&mut self, interface: &str, index: u32, mode: Xdp) -> Result<(), DatapathError> {
        let own = pin(&self.bpf_dir, interface, mode);
        adopt_renamed(&self.bpf_dir, &own, index, mode)?;
        let program = xdp_program(&mut self.ebpf, mode)?;
        let failed = |source| refused(mode.program(), source);
        if let Some(found) = target(&own)? {
            if found.ifindex == index {
                let link = open(&own)?;
                let fd = program.fd().map_err(failed)?;
                return sys::update_link(link.as_fd(), fd.as_fd()).map_err(|source| {
                    DatapathError::Syscall {
                        call: "BPF_LINK_UPDATE",
                        object: file_name(&own),
                        source,
                    }
                });
            }
            // The link's device was removed; another device may have the same name now.
            pins::remove(&own)?;
        }
        let id = program
            .attach_to_if_index(index, mode.mode())
            .map_err(failed)?;
        let link = program.take_link(id).map_err(failed)?;
        let link: FdLink = link.try_into().map_err(|source| link_error(&own, source))?;
        keep(link, &own)
    }
}

/// Removes the pins of the program at the interface of an attachment.
///
/// # Errors
/// If a pin cannot be removed.
pub(super) fn detach(attachment: &Attachment, bpf_dir: &Path) -> Result<(), DatapathError> {
    if attachment.hook == Hook::UplinkIngress {
        for mode in Xdp::ALL {
            pins::remove(&pin(bpf_dir, &attachment.interface, mode))?;
        }
    }
    Ok(())
}

/// Whether the program can run at an attachment's interface: it parses an Ethernet header.
fn is_possible(attachment: &Attachment) -> bool {
    attachment.hook == Hook::UplinkIngress && attachment.header == LinkHeader::Ethernet
}

/// If the device was renamed, renames the pin of its link accordingly.
fn adopt_renamed(bpf_dir: &Path, own: &Path, index: u32, mode: Xdp) -> Result<(), DatapathError> {
    if target(own)?.is_some_and(|found| found.ifindex == index) {
        return Ok(());
    }
    let directory = pins::links_dir(bpf_dir);
    for file in pins::file_names(&directory)? {
        let other = directory.join(&file);
        if !file.ends_with(mode.pin()) || target(&other)?.is_none_or(|found| found.ifindex != index)
        {
            continue;
        }
        pins::remove(own)?;
        return fs::rename(&other, own).map_err(|source| DatapathError::File {
            action: "rename",
            path: other,
            source,
        });
    }
    Ok(())
}

fn pin(bpf_dir: &Path, interface: &str, mode: Xdp) -> std::path::PathBuf {
    pins::links_dir(bpf_dir).join(pins::device_file(interface, mode.pin()))
}

/// The interface and the program of a pinned link; `None` if there is no pin.
fn target(pin: &Path) -> Result<Option<sys::LinkTarget>, DatapathError> {
    if !pin.exists() {
        return Ok(None);
    }
    let target = sys::link_target(open(pin)?.as_fd()).map_err(|source| DatapathError::Syscall {
        call: "BPF_OBJ_GET_INFO_BY_FD",
        object: file_name(pin),
        source,
    })?;
    Ok(Some(target))
}

fn open(pin: &Path) -> Result<std::os::fd::OwnedFd, DatapathError> {
    sys::open_pin(pin).map_err(|source| DatapathError::Syscall {
        call: "BPF_OBJ_GET",
        object: file_name(pin),
        source,
    })
}

fn xdp_program(ebpf: &mut aya::Ebpf, mode: Xdp) -> Result<&mut programs::Xdp, DatapathError> {
    let name = mode.program();
    program(ebpf, name)?
        .try_into()
        .map_err(|source| refused(name, source))
}

/// The innermost cause of an error, which names what the kernel or the driver refuses.
fn cause(error: &ProgramError) -> String {
    let mut cause = error.source();
    let mut text = error.to_string();
    while let Some(inner) = cause {
        text = inner.to_string();
        cause = inner.source();
    }
    text
}
