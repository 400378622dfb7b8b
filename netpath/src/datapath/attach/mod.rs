//! Attachment of programs to devices and to the cgroup.
//!
//! ```text
//! attach ─► tcx       a link for each device and hook, pinned (Linux 6.6)
//!        └► filter    a filter of the clsact qdisc; a pin of its program records that it is netpath's
//!        └► xdp       a link for each interface of the node with an Ethernet header, pinned, if the setting `xdp` is on
//!        └► socket    a link for each program on the cgroup, pinned
//! ```
//!
//! A program stays attached when the daemon ends. A newer one replaces it atomically, so no packet passes unprocessed.

mod filter;
mod socket;
mod tcx;
mod xdp;

use std::{collections::BTreeSet, path::Path};

use aya::programs::{SchedClassifier, TcAttachType};

use super::{
    Datapath, DatapathError, pins,
    programs::{classifier, refused},
};
use crate::{
    kernel::link_index,
    plan::{Attachment, Hook},
};

pub use socket::socket_programs;
pub use xdp::{Xdp, XdpState};

/// How programs are attached to devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// TCX links (Linux 6.6): first in the chain of the device, and pinned.
    Tcx,
    /// Filters of the clsact qdisc, at the highest priority.
    Filter,
}

impl Mode {
    /// TCX if the kernel has it, otherwise filters. A kernel without TCX rejects the attach type of the query.
    pub(super) fn probe() -> Self {
        match SchedClassifier::query_tcx("lo", TcAttachType::Ingress) {
            Ok(_) => Self::Tcx,
            Err(_) => Self::Filter,
        }
    }

    /// The wanted mode, or the best one that the kernel has.
    pub(super) fn choose(wanted: Option<Self>) -> Result<Self, DatapathError> {
        match (wanted, Self::probe()) {
            (None, possible) => Ok(possible),
            (Some(Self::Tcx), Self::Filter) => Err(DatapathError::NoTcx),
            (Some(wanted), _) => Ok(wanted),
        }
    }

    /// The name that `status` shows.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Filter => "filter",
        }
    }
}

impl Datapath {
    /// How programs are attached to devices.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Attaches a program to a device, or replaces the attached one.
    ///
    /// It runs before the programs of other tools. Otherwise, a packet that one of them accepts would skip this
    /// program, and could leave the node with a private source address.
    ///
    /// # Errors
    /// If the interface does not exist or the kernel refuses.
    pub fn attach(&mut self, attachment: &Attachment) -> Result<(), DatapathError> {
        let interface = &attachment.interface;
        let index =
            link_index(interface).ok_or_else(|| DatapathError::NoInterface(interface.clone()))?;
        let name = attachment.program();
        let program = classifier(&mut self.ebpf, name)?;
        match self.mode {
            Mode::Tcx => {
                tcx::attach(program, name, attachment, index, &self.bpf_dir)?;
                filter::detach(attachment, &self.bpf_dir)?;
            }
            Mode::Filter => {
                filter::attach(program, name, attachment, index, &self.bpf_dir)?;
                pins::remove(&pins::link(&self.bpf_dir, attachment))?;
            }
        }
        self.set_xdp_at(attachment, index)
    }

    /// Detaches a program from a device; succeeds if it is not attached.
    ///
    /// # Errors
    /// If a pin or a filter cannot be removed.
    pub fn detach(&self, attachment: &Attachment) -> Result<(), DatapathError> {
        xdp::detach(attachment, &self.bpf_dir)?;
        filter::detach(attachment, &self.bpf_dir)?;
        pins::remove(&pins::link(&self.bpf_dir, attachment))
    }

    /// Whether the loaded version of the program is attached to a device at a hook, and XDP runs there as the setting
    /// `xdp` requires.
    ///
    /// # Errors
    /// If a pin or the filters of the device cannot be read.
    pub fn is_attached(&mut self, attachment: &Attachment) -> Result<bool, DatapathError> {
        let Some(index) = link_index(&attachment.interface) else {
            return Ok(false);
        };
        let name = attachment.program();
        let current = id(classifier(&mut self.ebpf, name)?, name)?;
        let found = match self.mode {
            Mode::Tcx => tcx::program(attachment, index, &self.bpf_dir)?,
            Mode::Filter => filter::program(attachment, index, &self.bpf_dir)?,
        };
        Ok(found == Some(current) && self.is_xdp_right(attachment, index)?)
    }

    /// Every attachment that has a pin, whether or not its device still exists.
    ///
    /// # Errors
    /// If a directory cannot be read.
    pub fn pinned_attachments(&self) -> Result<Vec<Attachment>, DatapathError> {
        let mut names = pins::file_names(&pins::links_dir(&self.bpf_dir))?;
        names.extend(pins::file_names(&pins::filters_dir(&self.bpf_dir))?);
        let attachments: BTreeSet<_> = names
            .iter()
            .filter_map(|name| pins::attachment(name))
            .collect();
        Ok(attachments.into_iter().collect())
    }
}

impl Datapath {
    /// The maps whose pins another process has removed. Without a pin, the next daemon would start with an empty map.
    pub fn missing_maps(&self) -> Vec<String> {
        let maps = pins::maps_dir(&self.bpf_dir);
        let pinned = self.pinned.iter();
        pinned
            .filter(|name| !maps.join(name).exists())
            .cloned()
            .collect()
    }

    /// Restores the pin of a map.
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

/// Removes every attachment of netpath with its pin, and the pins of maps; succeeds if there are none. Needs no daemon and
/// no loaded program.
///
/// # Errors
/// If a filter or a pin cannot be removed.
pub fn remove_all(bpf_dir: &Path) -> Result<(), DatapathError> {
    for name in pins::file_names(&pins::filters_dir(bpf_dir))? {
        if let Some(attachment) = pins::attachment(&name) {
            filter::detach(&attachment, bpf_dir)?;
        }
    }
    pins::remove_all(bpf_dir)
}

/// Whether the device of a pinned attachment still exists.
///
/// # Errors
/// If a pin or the filters of the device cannot be read.
pub fn is_alive(bpf_dir: &Path, attachment: &Attachment) -> Result<bool, DatapathError> {
    let Some(index) = link_index(&attachment.interface) else {
        return Ok(false);
    };
    Ok(tcx::program(attachment, index, bpf_dir)?.is_some()
        || filter::program(attachment, index, bpf_dir)?.is_some())
}

const fn attach_type(hook: Hook) -> TcAttachType {
    match hook {
        Hook::UplinkIngress | Hook::EndpointIngress => TcAttachType::Ingress,
        Hook::UplinkEgress | Hook::EndpointEgress => TcAttachType::Egress,
    }
}

/// The kernel's id of a loaded program.
fn id(program: &SchedClassifier, name: &str) -> Result<u32, DatapathError> {
    let info = program.info().map_err(|source| refused(name, source))?;
    Ok(info.id())
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
