//! Requests that create and remove sandboxes.

use std::{net::IpAddr, path::PathBuf};

use ipnet::IpNet;
use netpath_common::addr::MacAddr;

use super::{
    Env, NetworkChoice, RequestError, Source,
    allocate::{Taken, Wanted, free_interface},
};
use crate::model::{
    Change, Endpoint, Name, NetnsSource, NetworkMode, Owner, PortSpec, ProcessId, Rate, Sandbox,
    State,
};

/// A sandbox to create.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SandboxRequest {
    /// Name; generated if `None`.
    pub name: Option<Name>,
    /// Networks; `bridge` if empty.
    pub networks: Vec<NetworkChoice>,
    /// Ports to publish.
    pub ports: Vec<PortSpec>,
    /// Allow-list of the ports; every source is allowed if empty.
    pub allow: Vec<IpNet>,
    /// Addresses in the first network; at most one for each family.
    pub ips: Vec<IpAddr>,
    /// MAC address in the first network; derived from the endpoint's id if `None`.
    pub mac: Option<MacAddr>,
    /// Host name; the name of the sandbox if `None`.
    pub hostname: Option<String>,
    /// Source of its namespace.
    pub source: Source,
    /// The sandbox is removed when this process ends.
    pub process: Option<ProcessId>,
    /// Owner of the sandbox.
    pub owner: Owner,
    /// Limit of each direction of each endpoint.
    pub rate: Option<Rate>,
    /// Whether it forwards packets for others.
    pub forwarding: bool,
    /// Whether the sandbox has no network if `networks` is empty, instead of `bridge`. Endpoints join it later.
    pub unconnected: bool,
}

impl SandboxRequest {
    /// A sandbox in network `bridge` with default options.
    pub fn new(source: Source) -> Self {
        Self {
            name: None,
            networks: Vec::new(),
            ports: Vec::new(),
            allow: Vec::new(),
            ips: Vec::new(),
            mac: None,
            hostname: None,
            source,
            process: None,
            owner: Owner::default(),
            rate: None,
            forwarding: false,
            unconnected: false,
        }
    }
}

impl State {
    /// Creates a sandbox.
    ///
    /// # Errors
    /// A name, address, port or namespace is in use, or the request is invalid.
    pub fn create_sandbox(
        &self,
        request: &SandboxRequest,
        env: &mut Env<'_>,
    ) -> Result<Change, RequestError> {
        if let Some(name) = &request.name
            && self.sandboxes.contains_key(name)
        {
            return Err(RequestError::Exists {
                kind: "sandbox",
                name: name.clone(),
            });
        }
        let unnamed = request.name.is_none();
        let id = self.allocate_id(env, |id| {
            !(unnamed && self.sandboxes.contains_key(&Name::generated(id)))
        });
        let name = request.name.clone().unwrap_or_else(|| Name::generated(id));
        let hostname = hostname(request, &name)?;
        let mode = mode(request)?;
        let (netns, source) = self.namespace(request, &name, &mode, env)?;
        let mut sandbox = Sandbox {
            id,
            name,
            mode,
            netns,
            source,
            process: request.process,
            hostname,
            owner: request.owner,
            forwarding: request.forwarding,
            endpoints: Vec::new(),
            ports: Vec::new(),
        };
        if sandbox.mode == NetworkMode::Network {
            sandbox.endpoints = self.first_endpoints(request, &sandbox, env)?;
            sandbox.ports = self.map_ports(&sandbox, &request.ports, &request.allow, env)?;
        }
        Ok(Change::Sandbox {
            before: None,
            after: Some(Box::new(sandbox)),
        })
    }

    /// Removes a sandbox with its endpoints and ports.
    ///
    /// # Errors
    /// It does not exist, or other sandboxes use its namespace; the error names them.
    pub fn remove_sandbox(&self, name: &Name) -> Result<Change, RequestError> {
        let sandbox = self.sandbox(name)?;
        let users: Vec<_> = self.sharers(name).cloned().collect();
        if !users.is_empty() {
            return Err(RequestError::InUse {
                kind: "sandbox",
                name: name.clone(),
                users,
            });
        }
        Ok(Change::Sandbox {
            before: Some(Box::new(sandbox.clone())),
            after: None,
        })
    }

    fn namespace(
        &self,
        request: &SandboxRequest,
        name: &Name,
        mode: &NetworkMode,
        env: &Env<'_>,
    ) -> Result<(PathBuf, NetnsSource), RequestError> {
        let shared = match mode {
            NetworkMode::Host => Some(env.host_netns.to_path_buf()),
            NetworkMode::Container(target) => Some(self.sandbox(target)?.netns.clone()),
            NetworkMode::Network | NetworkMode::None => None,
        };
        if let Some(path) = shared {
            return match &request.source {
                Source::Created { .. } => Ok((path, NetnsSource::Shared)),
                Source::Path { .. } | Source::Process { .. } => {
                    let reason = format!("network mode {mode} uses another namespace");
                    Err(refused(request, "an adopted namespace", reason))
                }
            };
        }
        let (path, source, namespace) = match &request.source {
            Source::Created { directory } => {
                return Ok((directory.join(name.as_str()), NetnsSource::Created));
            }
            Source::Path { path, namespace } => {
                let source = NetnsSource::Path {
                    namespace: *namespace,
                };
                (path, source, namespace)
            }
            Source::Process {
                process,
                path,
                namespace,
            } => {
                let source = NetnsSource::Process {
                    process: *process,
                    namespace: *namespace,
                };
                (path, source, namespace)
            }
        };
        match self.adopted.get(namespace) {
            None => Ok((path.clone(), source)),
            Some(owner) => Err(RequestError::Adopted {
                path: path.display().to_string(),
                owner: owner.clone(),
            }),
        }
    }

    fn first_endpoints(
        &self,
        request: &SandboxRequest,
        sandbox: &Sandbox,
        env: &mut Env<'_>,
    ) -> Result<Vec<Endpoint>, RequestError> {
        let default = [NetworkChoice::Network(Name::bridge())];
        let choices: &[_] = match request.networks.as_slice() {
            [] if request.unconnected => &[],
            [] => &default,
            choices => choices,
        };
        if choices.is_empty() && request.rate.is_some() {
            return Err(refused(request, "a rate", "it is connected to no network"));
        }
        let mut endpoints: Vec<Endpoint> = Vec::with_capacity(choices.len());
        let mut taken = Taken::default();
        for choice in choices {
            let NetworkChoice::Network(network) = choice else {
                continue;
            };
            if endpoints.iter().any(|other| other.network == *network) {
                let option = format!("network '{network}'");
                return Err(refused(request, &option, "it is named twice"));
            }
            let first = endpoints.is_empty();
            let wanted = Wanted {
                sandbox: Some(&sandbox.name),
                network,
                interface: free_interface(&endpoints, env.interfaces),
                ips: if first { &request.ips } else { &[] },
                mac: request.mac.filter(|_| first),
                owner: request.owner,
                rate: request.rate,
            };
            endpoints.push(self.allocate_endpoint(&wanted, &mut taken, env)?);
        }
        self.put_external_first(&mut endpoints);
        Ok(endpoints)
    }
}

/// The network mode that the networks of a request select. Modes other than `network` exclude each other, and
/// addresses and ports.
fn mode(request: &SandboxRequest) -> Result<NetworkMode, RequestError> {
    let special = request.networks.iter().find_map(|choice| match choice {
        NetworkChoice::Network(name) if matches!(name.as_str(), "host" | "none") => {
            Some(if name.as_str() == "host" {
                NetworkMode::Host
            } else {
                NetworkMode::None
            })
        }
        NetworkChoice::Network(_) => None,
        NetworkChoice::Host => Some(NetworkMode::Host),
        NetworkChoice::None => Some(NetworkMode::None),
        NetworkChoice::Container(name) => Some(NetworkMode::Container(name.clone())),
    });
    let Some(mode) = special else {
        return Ok(NetworkMode::Network);
    };
    let excluded = if request.networks.len() > 1 {
        "another network"
    } else if !request.ports.is_empty() || !request.allow.is_empty() {
        "published ports"
    } else if !request.ips.is_empty() {
        "an address of its own"
    } else if request.mac.is_some() {
        "a MAC address of its own"
    } else if request.rate.is_some() {
        "a rate"
    } else if request.forwarding {
        "forwarding"
    } else if request.hostname.is_some() && matches!(mode, NetworkMode::Container(_)) {
        "a host name of its own"
    } else {
        return Ok(mode);
    };
    let reason = format!("network mode {mode} excludes it");
    Err(refused(request, excluded, reason))
}

/// The requested host name, or the name of the sandbox. A host name consists of labels of letters, digits and hyphens
/// of at most 63 bytes; the kernel limits it to 64 bytes.
fn hostname(request: &SandboxRequest, name: &Name) -> Result<String, RequestError> {
    let Some(hostname) = &request.hostname else {
        return Ok(name.to_string());
    };
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-')
            && bytes.first() != Some(&b'-')
            && bytes.last() != Some(&b'-')
    };
    if hostname.len() <= 64 && hostname.split('.').all(label) {
        return Ok(hostname.clone());
    }
    let option = format!("host name '{hostname}'");
    let reason = "it must be labels of letters, digits and hyphens, and at most 64 characters";
    Err(refused(request, &option, reason))
}

fn refused(request: &SandboxRequest, option: &str, reason: impl Into<String>) -> RequestError {
    RequestError::SandboxOption {
        name: request
            .name
            .as_ref()
            .map_or_else(|| "(unnamed)".to_owned(), Name::to_string),
        option: option.to_owned(),
        reason: reason.into(),
    }
}
