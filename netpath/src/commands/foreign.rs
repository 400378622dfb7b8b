//! Devices that container engines create: bridges, and veth pairs on adopted bridges.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{CommandError, Commands};
use crate::kernel::{Kernel, Link, netns};

pub use crate::kernel::ContainerLink;

/// The devices of the node that other programs have created.
#[derive(Clone, Debug, Default)]
pub struct Foreign {
    /// Names of the bridges.
    pub bridges: BTreeSet<String>,
    /// The veth pairs that are ports of bridges.
    pub veths: Vec<ForeignVeth>,
}

/// A veth pair that is a port of a bridge.
#[derive(Clone, Debug)]
pub struct ForeignVeth {
    /// Name of the host interface.
    pub name: String,
    /// Name of the bridge.
    pub bridge: String,
    link: Link,
}

impl Commands {
    /// The bridges of the node, and the veth pairs on them.
    ///
    /// # Errors
    /// If the devices cannot be listed.
    pub async fn foreign_devices(&self) -> Result<Foreign, CommandError> {
        let links = self.kernel().await.links().await?;
        let bridges: BTreeMap<u32, &str> = links
            .iter()
            .filter(|link| link.kind.as_deref() == Some("bridge"))
            .map(|link| (link.index, link.name.as_str()))
            .collect();
        let veths = links
            .iter()
            .filter(|link| link.kind.as_deref() == Some("veth"))
            .filter_map(|link| {
                Some(ForeignVeth {
                    name: link.name.clone(),
                    bridge: (*bridges.get(&link.master?)?).to_owned(),
                    link: link.clone(),
                })
            });
        Ok(Foreign {
            veths: veths.collect(),
            bridges: bridges.into_values().map(str::to_owned).collect(),
        })
    }

    /// The other end of a veth pair, and the path of its namespace in `directory`; `None` if it is in none of them.
    ///
    /// # Errors
    /// If the directory cannot be listed, or a namespace cannot be read.
    pub async fn find_container_link(
        &self,
        veth: &ForeignVeth,
        directory: &Path,
    ) -> Result<Option<(PathBuf, ContainerLink)>, CommandError> {
        let kernel = self.kernel().await;
        for path in netns::entries(directory)? {
            if let Some(link) = kernel.container_link(&veth.link, &path).await? {
                return Ok(Some((path, link)));
            }
        }
        Ok(None)
    }

    /// Reports in the status of the node what a front end cannot do; `None` removes the report.
    pub async fn report(&self, topic: &'static str, text: Option<String>) {
        let mut node = self.shared.node.lock().await;
        match text {
            Some(text) => node.degraded.insert(topic, text),
            None => node.degraded.remove(topic),
        };
    }

    async fn kernel(&self) -> Kernel {
        self.shared
            .node
            .lock()
            .await
            .reconciler
            .kernel
            .kernel
            .clone()
    }
}
