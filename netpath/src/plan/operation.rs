//! Operations: what the executor can do, as values that print.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use serde::Serialize;

use super::{
    Attachment, Bridge, Namespace, Uplink, Veth,
    entries::{
        AddressEntry, AllowEntry, EndpointEntry, NetworkEntry, PortEntry, PortKey, SubnetEntry,
    },
};

/// One step. The executor's contract: each is idempotent, and removing what is not there succeeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Withdraw published ranges.
    RemovePorts(Vec<PortKey>),
    /// Withdraw allow-list entries.
    RemoveAllow(Vec<AllowEntry>),
    /// Forget addresses.
    RemoveAddresses(Vec<IpAddr>),
    /// Empty a slot; flows of its generation are over at once.
    RemoveEndpoint {
        /// Slot.
        slot: u32,
    },
    /// Forget an uplink.
    RemoveUplink {
        /// Interface name.
        name: String,
    },
    /// Take programs and pins off a device.
    Detach(Attachment),
    /// Delete an endpoint's veth pair.
    DeleteVeth {
        /// Interface name of the host's end.
        name: String,
    },
    /// Unmount and delete a namespace.
    DeleteNamespace(PathBuf),
    /// Forget a subnet.
    RemoveSubnet(IpNet),
    /// Forget a network.
    RemoveNetwork {
        /// Index.
        index: u32,
    },
    /// Delete a bridge.
    DeleteBridge {
        /// Interface name.
        name: String,
    },

    /// Attach a program to a device: to uplinks here, before any bridge is there; to an endpoint after its pair was
    /// created and before it is set up.
    Attach(Attachment),
    /// Pin a map again. No change needs it, only repair.
    PinMap {
        /// Map.
        map: String,
    },
    /// Attach one of the programs for sockets of host processes to the cgroup. No change needs it, only repair.
    AttachSocket {
        /// Program.
        program: String,
    },
    /// Make an uplink known to the programs.
    PutUplink {
        /// Interface name.
        name: String,
        /// Entry.
        uplink: Uplink,
    },
    /// Make subnets known, before anything can send from them.
    PutSubnet {
        /// Prefix.
        prefix: IpNet,
        /// Entry.
        entry: SubnetEntry,
    },
    /// Make a bridge, or bring it to this state.
    SetBridge {
        /// Interface name.
        name: String,
        /// State.
        bridge: Bridge,
    },
    /// Make a network known; its entry names the bridge.
    PutNetwork {
        /// Index.
        index: u32,
        /// Entry.
        entry: NetworkEntry,
    },
    /// Make and mount a namespace.
    CreateNamespace(Namespace),
    /// Make a veth pair with its end in a namespace, not yet up.
    CreateVeth {
        /// Interface name of the host's end.
        name: String,
        /// Both ends.
        veth: Veth,
    },
    /// Bring the host's end to this state and up.
    SetVeth {
        /// Interface name of the host's end.
        name: String,
        /// Bridge.
        bridge: String,
        /// MTU.
        mtu: u32,
    },
    /// Bring the end inside a namespace to this state and up.
    SetInside {
        /// Interface name of the host's end.
        name: String,
        /// Both ends.
        veth: Veth,
    },
    /// Fill a slot.
    PutEndpoint {
        /// Slot.
        slot: u32,
        /// Entry.
        entry: EndpointEntry,
    },
    /// Make addresses known.
    PutAddresses(Vec<(IpAddr, AddressEntry)>),
    /// Let sources in; before the ports that refer to them.
    PutAllow(Vec<AllowEntry>),
    /// Publish ranges.
    PutPorts(Vec<(PortKey, PortEntry)>),
}

/// Removing comes before making, and each in the order of [`Operation`]'s variants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Something goes.
    Remove,
    /// Something is made or changed.
    Make,
}
