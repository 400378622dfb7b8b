//! Operations: the steps of a plan, as values.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    Attachment, Bridge, Namespace, Uplink, Veth,
    entries::{
        AddressEntry, AllowEntry, EndpointEntry, NetworkEntry, PortEntry, PortKey, SubnetEntry,
    },
};

/// One step of a plan. Execution is idempotent; removing an object that does not exist succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Withdraw published ranges.
    RemovePorts(Vec<PortKey>),
    /// Withdraw allow-list entries.
    RemoveAllow(Vec<AllowEntry>),
    /// Remove addresses from the maps.
    RemoveAddresses(Vec<IpAddr>),
    /// Clear a slot; flows of its generation expire at once.
    RemoveEndpoint {
        /// Slot.
        slot: u32,
    },
    /// Remove an uplink from the maps.
    RemoveUplink {
        /// Interface name.
        name: String,
    },
    /// Detach a program from a device, and remove its pin.
    Detach(Attachment),
    /// Delete an endpoint's veth pair.
    DeleteVeth {
        /// Name of the host interface.
        name: String,
    },
    /// Unmount and delete a namespace.
    DeleteNamespace(PathBuf),
    /// Remove a subnet from the maps.
    RemoveSubnet(IpNet),
    /// Remove a network from the maps.
    RemoveNetwork {
        /// Index.
        index: u32,
    },
    /// Delete a bridge.
    DeleteBridge {
        /// Interface name.
        name: String,
    },

    /// Attach a program to a device: to uplinks here, before any bridge exists; to an endpoint after its pair was
    /// created and before it is set up.
    Attach(Attachment),
    /// Pin a map again. Only a reconcile needs it.
    PinMap {
        /// Map.
        map: String,
    },
    /// Attach a program for sockets of host processes to the cgroup. Only a reconcile needs it.
    AttachSocket {
        /// Program.
        program: String,
    },
    /// Add an uplink to the maps.
    PutUplink {
        /// Interface name.
        name: String,
        /// Entry.
        uplink: Uplink,
    },
    /// Add a subnet to the maps, before any endpoint can send from it.
    PutSubnet {
        /// Prefix.
        prefix: IpNet,
        /// Entry.
        entry: SubnetEntry,
    },
    /// Create a bridge, or bring it to this state.
    SetBridge {
        /// Interface name.
        name: String,
        /// State.
        bridge: Bridge,
    },
    /// Add a network to the maps; its entry names the bridge.
    PutNetwork {
        /// Index.
        index: u32,
        /// Entry.
        entry: NetworkEntry,
    },
    /// Create and mount a namespace.
    CreateNamespace(Namespace),
    /// Create a veth pair with its container interface in a namespace, both down.
    CreateVeth {
        /// Name of the host interface.
        name: String,
        /// Both interfaces.
        veth: Veth,
    },
    /// Bring the host interface to this state and up.
    SetVeth {
        /// Name of the host interface.
        name: String,
        /// Bridge.
        bridge: String,
        /// MTU.
        mtu: u32,
    },
    /// Bring the container interface to this state and up.
    SetInside {
        /// Name of the host interface.
        name: String,
        /// Both interfaces.
        veth: Veth,
    },
    /// Fill a slot.
    PutEndpoint {
        /// Slot.
        slot: u32,
        /// Entry.
        entry: EndpointEntry,
    },
    /// Add addresses to the maps.
    PutAddresses(Vec<(IpAddr, AddressEntry)>),
    /// Allow sources; before the ports that refer to them.
    PutAllow(Vec<AllowEntry>),
    /// Publish ranges.
    PutPorts(Vec<(PortKey, PortEntry)>),
}

/// Phases of a plan: removals come before creations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Objects are removed.
    Remove,
    /// Objects are created or changed.
    Make,
}
