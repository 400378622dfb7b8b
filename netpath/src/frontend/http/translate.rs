//! Translates requests of the HTTP API to commands, and their results to wire types.

use std::{path::PathBuf, time::Duration};

use netpath_common::addr::MacAddr;
use tokio::sync::broadcast;

use super::{
    service::{ApiError, ErrorKind, Service},
    tables, v1,
};
use crate::{
    commands::{
        self, CommandError, Commands, EndpointSpec, NamespaceChoice, NetworkSpec, SandboxSpec,
    },
    datapath::read::ReadError,
    model::{
        Caller, DenyPrefix, Encap, Id, Name, PortSpec, Rate,
        deny::LONGEST_DENIAL,
        parse_mac,
        request::{NetworkChoice, NetworkRequest},
    },
};

/// The service on top of the commands.
pub struct Translator(pub Commands);

impl Service for Translator {
    async fn networks(&self) -> Result<Vec<v1::Network>, ApiError> {
        let networks = self.0.networks().await;
        Ok(networks.into_iter().map(Into::into).collect())
    }

    async fn network(&self, network: &str) -> Result<v1::Network, ApiError> {
        Ok(self.0.network(&name(network)?).await?.into())
    }

    async fn create_network(
        &self,
        request: v1::NetworkCreate,
        caller: Caller,
    ) -> Result<v1::Network, ApiError> {
        let spec = NetworkSpec {
            adopt: request.adopt,
            request: NetworkRequest {
                driver: request.driver.into(),
                subnets: request.subnets,
                gateways: request.gateways,
                ip_ranges: request.ip_range.into_iter().collect(),
                ipv6: request.ipv6,
                internal: request.internal,
                icc: request.icc,
                masquerade: request.masquerade,
                gateway_mode: request.gateway_mode.into(),
                mtu: request.mtu,
                vni: request.vni,
                encap: request.encap.as_deref().map(encap).transpose()?,
                labels: request.labels,
                ..NetworkRequest::new(name(&request.name)?)
            },
        };
        Ok(self.0.create_network(spec, caller).await?.into())
    }

    async fn remove_network(&self, network: &str, caller: Caller) -> Result<(), ApiError> {
        Ok(self.0.remove_network(&name(network)?, caller).await?)
    }

    async fn connect(
        &self,
        network: &str,
        request: v1::Connect,
        caller: Caller,
    ) -> Result<v1::Sandbox, ApiError> {
        let (network, sandbox) = (name(network)?, name(&request.sandbox)?);
        let ips: Vec<_> = request.ip.into_iter().collect();
        Ok(self
            .0
            .connect(&network, &sandbox, &ips, rate(request.rate)?, caller)
            .await?
            .into())
    }

    async fn disconnect(
        &self,
        network: &str,
        request: v1::Disconnect,
        caller: Caller,
    ) -> Result<v1::Sandbox, ApiError> {
        let (network, sandbox) = (name(network)?, name(&request.sandbox)?);
        Ok(self.0.disconnect(&network, &sandbox, caller).await?.into())
    }

    async fn sandboxes(&self) -> Result<Vec<v1::Sandbox>, ApiError> {
        let sandboxes = self.0.sandboxes().await;
        Ok(sandboxes.into_iter().map(Into::into).collect())
    }

    async fn sandbox(&self, sandbox: &str) -> Result<v1::Sandbox, ApiError> {
        Ok(self.0.sandbox(&name(sandbox)?).await?.into())
    }

    async fn create_sandbox(
        &self,
        request: v1::SandboxCreate,
        caller: Caller,
    ) -> Result<v1::Sandbox, ApiError> {
        let networks = request.networks.iter().map(|text| choice(text));
        let spec = SandboxSpec {
            name: request.name.as_deref().map(name).transpose()?,
            networks: networks.collect::<Result<_, _>>()?,
            ports: specs(&request.publish)?,
            allow: request.allow,
            ips: request.ip.into_iter().collect(),
            mac: request.mac.as_deref().map(mac).transpose()?,
            hostname: request.hostname,
            namespace: namespace(request.netns, request.pid)?,
            process: request.owner_pid,
            rate: rate(request.rate)?,
            forwarding: request.forwarding,
            unconnected: request.unconnected,
        };
        Ok(self.0.create_sandbox(spec, caller).await?.into())
    }

    async fn remove_sandbox(&self, sandbox: &str, caller: Caller) -> Result<(), ApiError> {
        Ok(self.0.remove_sandbox(&name(sandbox)?, caller).await?)
    }

    async fn endpoints(&self) -> Result<Vec<v1::Endpoint>, ApiError> {
        let endpoints = self.0.endpoints().await;
        Ok(endpoints.into_iter().map(Into::into).collect())
    }

    async fn endpoint(&self, text: &str) -> Result<v1::Endpoint, ApiError> {
        Ok(self.0.endpoint(id(text)?).await?.into())
    }

    async fn create_endpoint(
        &self,
        request: v1::EndpointCreate,
        caller: Caller,
    ) -> Result<v1::Endpoint, ApiError> {
        let spec = EndpointSpec {
            network: name(&request.network)?,
            ips: request.ips,
            mac: request.mac.as_deref().map(mac).transpose()?,
            interface: request.interface,
            host_interface: request.host_interface,
        };
        Ok(self.0.create_endpoint(spec, caller).await?.into())
    }

    async fn remove_endpoint(&self, text: &str, caller: Caller) -> Result<(), ApiError> {
        Ok(self.0.remove_endpoint(id(text)?, caller).await?)
    }

    async fn join_endpoint(
        &self,
        text: &str,
        request: v1::Join,
        caller: Caller,
    ) -> Result<v1::Endpoint, ApiError> {
        let sandbox = name(&request.sandbox)?;
        let joined = self.0.join_endpoint(id(text)?, &sandbox, caller).await?;
        Ok(joined.into())
    }

    async fn leave_endpoint(&self, text: &str, caller: Caller) -> Result<v1::Endpoint, ApiError> {
        Ok(self.0.leave_endpoint(id(text)?, caller).await?.into())
    }

    async fn ports(&self, sandbox: Option<&str>) -> Result<Vec<v1::Port>, ApiError> {
        let sandbox = sandbox.map(name).transpose()?;
        let ports = self.0.ports(sandbox.as_ref()).await?;
        Ok(ports.into_iter().map(Into::into).collect())
    }

    async fn publish(
        &self,
        request: v1::Publish,
        caller: Caller,
    ) -> Result<Vec<v1::Port>, ApiError> {
        let sandbox = name(&request.sandbox)?;
        let specs = specs(&request.publish)?;
        let ports = self
            .0
            .publish(&sandbox, &specs, &request.allow, caller)
            .await?;
        Ok(ports.into_iter().map(Into::into).collect())
    }

    async fn unpublish(&self, request: v1::Unpublish, caller: Caller) -> Result<(), ApiError> {
        let sandbox = name(&request.sandbox)?;
        let specs = specs(&request.publish)?;
        Ok(self.0.unpublish(&sandbox, &specs, caller).await?)
    }

    async fn denials(&self) -> Result<Vec<v1::Denial>, ApiError> {
        let denials = self.0.denials().await?;
        Ok(denials.into_iter().map(Into::into).collect())
    }

    async fn deny(&self, request: v1::Deny) -> Result<(), ApiError> {
        let time = request.for_s.map(deny_time).transpose()?;
        Ok(self.0.deny(&prefixes(&request.cidrs)?, time).await?)
    }

    async fn remove_denials(&self, request: v1::DenyRemove) -> Result<(), ApiError> {
        Ok(self.0.remove_denials(&prefixes(&request.cidrs)?).await?)
    }

    async fn nodes(&self) -> Result<Vec<v1::Node>, ApiError> {
        let nodes = self.0.nodes().await?;
        Ok(nodes.into_iter().map(Into::into).collect())
    }

    async fn node(&self, node: &str) -> Result<v1::Node, ApiError> {
        Ok(self.0.node(&name(node)?).await?.into())
    }

    async fn remove_node(&self, node: &str, caller: Caller) -> Result<(), ApiError> {
        Ok(self.0.remove_node(&name(node)?, caller.force).await?)
    }

    async fn maps(&self) -> Result<Vec<v1::MapInfo>, ApiError> {
        let maps = self.0.maps()?;
        Ok(maps.into_iter().map(Into::into).collect())
    }

    async fn map(&self, table: v1::MapTable) -> Result<v1::MapDump, ApiError> {
        Ok(tables::dump(&self.0.config().bpf_dir, table)?)
    }

    async fn status(&self) -> Result<v1::Status, ApiError> {
        Ok(self.0.status().await?.into())
    }

    async fn teardown(&self) -> Result<(), ApiError> {
        Ok(self.0.teardown().await?)
    }

    fn events(&self) -> broadcast::Receiver<commands::Event> {
        self.0.events()
    }
}

impl From<CommandError> for ApiError {
    fn from(error: CommandError) -> Self {
        Self {
            kind: match error.kind() {
                commands::ErrorKind::Invalid => ErrorKind::Invalid,
                commands::ErrorKind::NotFound => ErrorKind::NotFound,
                commands::ErrorKind::Conflict => ErrorKind::Conflict,
                commands::ErrorKind::Unavailable => ErrorKind::Unavailable,
                commands::ErrorKind::Internal => ErrorKind::Internal,
            },
            message: error.to_string(),
            hint: error.hint(),
        }
    }
}

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        CommandError::from(error).into()
    }
}

fn namespace(path: Option<PathBuf>, pid: Option<i32>) -> Result<NamespaceChoice, ApiError> {
    match (path, pid) {
        (None, None) => Ok(NamespaceChoice::Create),
        (Some(path), None) => Ok(NamespaceChoice::Path(path)),
        (None, Some(pid)) => Ok(NamespaceChoice::Process(pid)),
        (Some(_), Some(_)) => Err(ApiError::invalid(
            "a sandbox cannot be adopted by path and by process",
        )
        .hint("give either the path of a namespace or a process")),
    }
}

fn name(text: &str) -> Result<Name, ApiError> {
    text.parse()
        .map_err(|error| ApiError::invalid(format!("{error}")))
}

fn id(text: &str) -> Result<Id, ApiError> {
    text.parse()
        .map_err(|error| ApiError::invalid(format!("{error}")))
}

fn choice(text: &str) -> Result<NetworkChoice, ApiError> {
    text.parse()
        .map_err(|error: String| ApiError::invalid(error))
}

fn specs(texts: &[String]) -> Result<Vec<PortSpec>, ApiError> {
    texts
        .iter()
        .map(|text| {
            text.parse()
                .map_err(|error| ApiError::invalid(format!("{error}")))
        })
        .collect()
}

fn prefixes(texts: &[String]) -> Result<Vec<DenyPrefix>, ApiError> {
    if texts.is_empty() {
        return Err(ApiError::invalid("the request names no prefix")
            .hint("send {\"cidrs\": [\"203.0.113.0/24\"]}"));
    }
    let parsed = texts.iter().map(|text| {
        let prefix = text.parse();
        prefix.map_err(|error| ApiError::invalid(format!("{error}")))
    });
    parsed.collect()
}

/// The time in seconds after which an entry of the deny list expires.
fn deny_time(seconds: u64) -> Result<Duration, ApiError> {
    if (1..=LONGEST_DENIAL).contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    Err(ApiError::invalid(format!(
        "{seconds} s is not between 1 and {LONGEST_DENIAL} s"
    ))
    .hint("omit the time for an entry that never expires"))
}

fn rate(bits: Option<u64>) -> Result<Option<Rate>, ApiError> {
    bits.map(Rate::try_from)
        .transpose()
        .map_err(|error| ApiError::invalid(format!("{error}")))
}

fn encap(text: &str) -> Result<Encap, ApiError> {
    text.parse()
        .map_err(|error| ApiError::invalid(format!("{error}")))
}

fn mac(text: &str) -> Result<MacAddr, ApiError> {
    parse_mac(text).ok_or_else(|| {
        ApiError::invalid(format!("'{text}' is not a MAC address"))
            .hint("write it like 02:42:ac:11:00:02")
    })
}
