//! Operations: the steps of a plan, as values.

use std::{collections::BTreeSet, net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    Attachment, Bridge, Namespace, Veth,
    tables::{Addition, Removal},
};
use crate::model::Rate;

/// One step of a plan. Execution is idempotent; removing an object that does not exist succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Move netpath's default route of a family to this container link from another one, which may be removed
    /// afterwards.
    MoveGateway {
        /// Name of the host interface.
        name: String,
        /// Both interfaces.
        veth: Veth,
        /// The gateway.
        gateway: IpAddr,
    },
    /// Remove entries from the maps. Flows of a removed endpoint expire at once.
    Remove(Removal),
    /// Detach a program from a device, and remove its pin.
    Detach(Attachment),
    /// Delete an endpoint's veth pair.
    DeleteVeth {
        /// Name of the host interface.
        name: String,
    },
    /// Unmount and delete a namespace.
    DeleteNamespace(PathBuf),
    /// Delete a bridge.
    DeleteBridge {
        /// Interface name.
        name: String,
    },

    /// Attach a program to a device. An interface of the node gets its programs before bridges are created, an endpoint between the
    /// creation of its veth pair and its setup.
    Attach(Attachment),
    /// Pin a map again. Only a reconcile needs it.
    PinMap {
        /// Name of the map.
        map: String,
    },
    /// Attach a program for sockets of host processes to the cgroup. Only a reconcile needs it.
    AttachSocket {
        /// Name of the program.
        program: String,
    },
    /// Create a bridge, or bring it to this state.
    SetBridge {
        /// Interface name.
        name: String,
        /// Desired state.
        bridge: Bridge,
    },
    /// Create and mount a namespace.
    CreateNamespace(Namespace),
    /// Create a veth pair with its container link in a namespace, both down.
    CreateVeth {
        /// Name of the host interface.
        name: String,
        /// Both interfaces.
        veth: Veth,
    },
    /// Bring the host interface to this state and up. Without a rate, netpath's queueing discipline is removed; that of another
    /// program is kept.
    SetVeth {
        /// Name of the host interface.
        name: String,
        /// Interface name of the bridge.
        bridge: String,
        /// MTU in bytes.
        mtu: u32,
        /// Limit of each direction.
        #[serde(skip_serializing_if = "Option::is_none")]
        rate: Option<Rate>,
    },
    /// Configure the container link after the creation of the pair: addresses, up, and default routes in the families in
    /// which the namespace has none.
    SetInside {
        /// Name of the host interface.
        name: String,
        /// Both interfaces.
        veth: Veth,
        /// Whether the endpoint had no container link before.
        first: bool,
    },
    /// Add missing addresses to the container link, and default routes in the families in which the namespace has none.
    RestoreInside {
        /// Name of the host interface.
        name: String,
        /// Both interfaces.
        veth: Veth,
        /// The addresses.
        addresses: BTreeSet<IpNet>,
        /// Gateways of the default routes.
        gateways: BTreeSet<IpAddr>,
    },
    /// Change the MTU of the container link to that of the host interface.
    SetInsideMtu {
        /// Name of the host interface.
        name: String,
        /// Both interfaces.
        veth: Veth,
    },
    /// Add entries to the maps, or replace entries.
    Put(Addition),
}

/// Phases of a plan: removals come before creations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Objects are removed.
    Remove,
    /// Objects are created or changed.
    Make,
}
