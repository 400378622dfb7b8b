//! The parts of the engine's API that netpath reads. Fields that it does not read are ignored.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Reply of `/version`.
#[derive(Debug, Deserialize)]
pub struct Version {
    /// Newest version of the API.
    #[serde(rename = "ApiVersion")]
    pub newest: String,
    /// Oldest version of the API.
    #[serde(rename = "MinAPIVersion", default)]
    pub oldest: String,
}

/// An error of the engine.
#[derive(Debug, Deserialize)]
pub struct Failure {
    /// Description.
    pub message: String,
}

/// A message of `/events`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Event {
    /// Kind of the object.
    #[serde(rename = "Type")]
    pub object: String,
    /// What has happened.
    pub action: String,
    /// The object.
    pub actor: Actor,
}

/// The object of an event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Actor {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its attributes.
    #[serde(rename = "Attributes", default)]
    pub attributes: BTreeMap<String, String>,
}

/// An element of `/containers/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Summary {
    /// The container's id.
    pub id: String,
}

/// Published ports by container port, as in `"80/tcp": [{"HostIp": "", "HostPort": "8080"}]`.
pub type PortMap = BTreeMap<String, Option<Vec<Binding>>>;

/// A host address and port.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Binding {
    /// Host address; empty for every address.
    #[serde(default)]
    pub host_ip: String,
    /// Host port; empty or a range if the engine chooses one.
    #[serde(default)]
    pub host_port: String,
}

/// Reply of `/containers/ID/json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container {
    /// State of its process.
    pub state: ContainerState,
    /// The settings of the user.
    pub host_config: HostConfig,
    /// The settings that the engine has chosen.
    pub network_settings: NetworkSettings,
}

/// State of a container's process.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerState {
    /// Whether it runs.
    pub running: bool,
}

/// Settings of the user.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostConfig {
    /// Requested ports.
    #[serde(default)]
    pub port_bindings: Option<PortMap>,
}

/// Settings that the engine has chosen.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkSettings {
    /// Path of the network namespace.
    #[serde(default)]
    pub sandbox_key: String,
    /// Published ports.
    #[serde(default)]
    pub ports: Option<PortMap>,
}

/// An element of `/networks`, and the reply of `/networks/ID`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Network {
    /// Name.
    pub name: String,
    /// Unique id.
    pub id: String,
    /// Driver.
    pub driver: String,
    /// Whether it has no external access.
    #[serde(default)]
    pub internal: bool,
    /// Options of the driver.
    #[serde(default)]
    pub options: Option<BTreeMap<String, String>>,
    /// Subnets.
    #[serde(rename = "IPAM", default)]
    pub ipam: Ipam,
    /// Connected containers by id; only in `/networks/ID`.
    #[serde(default)]
    pub containers: Option<BTreeMap<String, Member>>,
}

/// Subnets of a network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Ipam {
    /// One element for each subnet.
    #[serde(default)]
    pub config: Option<Vec<Pool>>,
}

/// A subnet of a network.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Pool {
    /// Prefix.
    #[serde(default)]
    pub subnet: String,
    /// Address of the bridge; missing if the user has given only a subnet.
    #[serde(default)]
    pub gateway: String,
}

/// A container in a network.
#[derive(Clone, Debug, Deserialize)]
pub struct Member {
    /// MAC address.
    #[serde(rename = "MacAddress", default)]
    pub mac: String,
    /// IPv4 address with prefix length, or empty.
    #[serde(rename = "IPv4Address", default)]
    pub v4: String,
    /// IPv6 address with prefix length, or empty.
    #[serde(rename = "IPv6Address", default)]
    pub v6: String,
}
