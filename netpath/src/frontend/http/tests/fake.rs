//! A service without a kernel.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, UNIX_EPOCH},
};

use tokio::sync::broadcast;

use crate::{
    commands,
    frontend::http::{
        service::{ApiError, Service},
        v1,
    },
    model::Caller,
};

/// Records its requests.
pub(crate) struct Fake {
    state: Mutex<State>,
    events: broadcast::Sender<commands::Event>,
}

/// What a [`Fake`] records.
#[derive(Default)]
pub(crate) struct State {
    pub networks: BTreeMap<String, v1::Network>,
    pub sandboxes: BTreeMap<String, v1::Sandbox>,
    pub requests: Vec<String>,
    pub status: v1::Status,
}

impl Fake {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            events: broadcast::channel(16).0,
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn emit(&self, action: commands::Action, name: &str) {
        let event = commands::Event {
            time: UNIX_EPOCH + Duration::from_millis(1),
            action,
            object: commands::ObjectKind::Network,
            name: name.to_owned(),
            message: None,
        };
        // Without a subscriber, sending fails; that is not an error.
        let _ = self.events.send(event);
    }

    pub(crate) fn listeners(&self) -> usize {
        self.events.receiver_count()
    }

    fn note(&self, request: String) {
        self.state().requests.push(request);
    }

    fn known_sandbox(&self, name: &str) -> Result<v1::Sandbox, ApiError> {
        let state = self.state();
        state.sandboxes.get(name).cloned().ok_or_else(|| {
            ApiError::unknown("sandbox", name, state.sandboxes.keys().map(String::as_str))
        })
    }
}

pub(crate) fn network(name: &str) -> v1::Network {
    v1::Network {
        name: name.to_owned(),
        id: "0123456789ab".to_owned(),
        driver: v1::Driver::Bridge,
        scope: v1::Scope::Local,
        subnets: vec!["172.17.0.0/24".parse().unwrap()],
        gateways: vec!["172.17.0.1".parse().unwrap()],
        mtu: 1500,
        vni: None,
        encap: None,
        internal: false,
        icc: true,
        masquerade: true,
        gateway_mode: v1::GatewayMode::Nat,
        owner: v1::Owner::Netpath,
        adopted: None,
        sandboxes: vec!["web".to_owned()],
        labels: BTreeMap::from([("tier".to_owned(), "front".to_owned())]),
        warnings: Vec::new(),
    }
}

pub(crate) fn node(name: &str) -> v1::Node {
    v1::Node {
        name: name.to_owned(),
        addresses: vec!["192.0.2.129".parse().unwrap()],
        version: "0.1.0".to_owned(),
        state: "unreachable".to_owned(),
        networks: vec!["web".to_owned()],
        last_seen_s: 12,
    }
}

pub(crate) fn port(sandbox: &str) -> v1::Port {
    v1::Port {
        sandbox: sandbox.to_owned(),
        network: "bridge".to_owned(),
        protocol: v1::Protocol::Tcp,
        host_ip: None,
        families: vec![v1::AddressFamily::Ipv4],
        host_port: 8080,
        host_port_end: 8081,
        container_ip: "172.17.0.2".parse().unwrap(),
        container_port: 80,
        container_port_end: 81,
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        owner: Some(v1::Owner::Netpath),
    }
}

pub(crate) fn denial() -> v1::Denial {
    v1::Denial {
        cidr: "203.0.113.0/24".parse().unwrap(),
        expires_s: Some(60),
        configured: false,
    }
}

pub(crate) fn endpoint() -> v1::Endpoint {
    v1::Endpoint {
        id: "bbbbbbbbbbbb".to_owned(),
        network: "bridge".to_owned(),
        interface: "eth0".to_owned(),
        sandbox: Some("web".to_owned()),
        owner: v1::Owner::Netpath,
        adopted: false,
        host_interface: "npv-bbbbbbbbbb".to_owned(),
        mac: "02:00:5e:00:53:01".to_owned(),
        addresses: vec!["172.17.0.2/24".parse().unwrap()],
        gateways: vec!["172.17.0.1".parse().unwrap()],
        mtu: 1500,
        rate: Some(10_000_000),
    }
}

pub(crate) fn sandbox(name: &str) -> v1::Sandbox {
    v1::Sandbox {
        name: name.to_owned(),
        id: "aaaaaaaaaaaa".to_owned(),
        netns: "/proc/self/ns/net".into(),
        netns_cookie: None,
        network_mode: "network".to_owned(),
        hostname: name.to_owned(),
        forwarding: false,
        owner: v1::Owner::Docker,
        state: "running".to_owned(),
        pid: Some(7),
        started_pid: Some(7),
        endpoints: vec![endpoint()],
        ports: vec![port(name)],
    }
}

impl Service for Fake {
    async fn networks(&self) -> Result<Vec<v1::Network>, ApiError> {
        Ok(self.state().networks.values().cloned().collect())
    }

    async fn network(&self, name: &str) -> Result<v1::Network, ApiError> {
        let state = self.state();
        state.networks.get(name).cloned().ok_or_else(|| {
            ApiError::unknown("network", name, state.networks.keys().map(String::as_str))
        })
    }

    async fn create_network(
        &self,
        request: v1::NetworkCreate,
        _: Caller,
    ) -> Result<v1::Network, ApiError> {
        let mut state = self.state();
        if state.networks.contains_key(&request.name) {
            return Err(ApiError::conflict(format!(
                "the network '{}' exists",
                request.name
            )));
        }
        let network = network(&request.name);
        state.networks.insert(request.name, network.clone());
        Ok(network)
    }

    async fn remove_network(&self, name: &str, _: Caller) -> Result<(), ApiError> {
        self.network(name).await?;
        self.state().networks.remove(name);
        Ok(())
    }

    async fn connect(
        &self,
        network: &str,
        request: v1::Connect,
        _: Caller,
    ) -> Result<v1::Sandbox, ApiError> {
        self.note(format!("connect {network} {request:?}"));
        self.known_sandbox(&request.sandbox)
    }

    async fn disconnect(
        &self,
        network: &str,
        request: v1::Disconnect,
        _: Caller,
    ) -> Result<v1::Sandbox, ApiError> {
        self.note(format!("disconnect {network} {request:?}"));
        self.known_sandbox(&request.sandbox)
    }

    async fn sandboxes(&self) -> Result<Vec<v1::Sandbox>, ApiError> {
        Ok(self.state().sandboxes.values().cloned().collect())
    }

    async fn sandbox(&self, name: &str) -> Result<v1::Sandbox, ApiError> {
        self.known_sandbox(name)
    }

    async fn create_sandbox(
        &self,
        request: v1::SandboxCreate,
        _: Caller,
    ) -> Result<v1::Sandbox, ApiError> {
        self.note(format!("create {request:?}"));
        let name = request.name.unwrap_or_else(|| "made-up".to_owned());
        let mut sandbox = sandbox(&name);
        if let Some(hostname) = request.hostname {
            sandbox.hostname = hostname;
        }
        self.state().sandboxes.insert(name, sandbox.clone());
        Ok(sandbox)
    }

    async fn remove_sandbox(&self, name: &str, caller: Caller) -> Result<(), ApiError> {
        self.note(format!("remove {name} {caller:?}"));
        self.known_sandbox(name)?;
        self.state().sandboxes.remove(name);
        Ok(())
    }

    async fn endpoints(&self) -> Result<Vec<v1::Endpoint>, ApiError> {
        let state = self.state();
        let sandboxes = state.sandboxes.values();
        Ok(sandboxes
            .flat_map(|sandbox| sandbox.endpoints.clone())
            .collect())
    }

    async fn endpoint(&self, id: &str) -> Result<v1::Endpoint, ApiError> {
        let endpoints = self.endpoints().await?;
        let found = endpoints.into_iter().find(|endpoint| endpoint.id == id);
        found.ok_or_else(|| ApiError::unknown("endpoint", id, []))
    }

    async fn create_endpoint(
        &self,
        request: v1::EndpointCreate,
        caller: Caller,
    ) -> Result<v1::Endpoint, ApiError> {
        self.note(format!("create {request:?} {caller:?}"));
        Ok(endpoint())
    }

    async fn remove_endpoint(&self, id: &str, caller: Caller) -> Result<(), ApiError> {
        self.note(format!("remove {id} {caller:?}"));
        Ok(())
    }

    async fn join_endpoint(
        &self,
        id: &str,
        request: v1::Join,
        caller: Caller,
    ) -> Result<v1::Endpoint, ApiError> {
        self.note(format!("join {id} {request:?} {caller:?}"));
        Ok(endpoint())
    }

    async fn leave_endpoint(&self, id: &str, caller: Caller) -> Result<v1::Endpoint, ApiError> {
        self.note(format!("leave {id} {caller:?}"));
        Ok(endpoint())
    }

    async fn ports(&self, sandbox: Option<&str>) -> Result<Vec<v1::Port>, ApiError> {
        match sandbox {
            Some(name) => Ok(self.known_sandbox(name)?.ports),
            None => Ok(vec![port("web"), port("db")]),
        }
    }

    async fn publish(&self, request: v1::Publish, _: Caller) -> Result<Vec<v1::Port>, ApiError> {
        self.note(format!("publish {request:?}"));
        Ok(vec![port(&request.sandbox)])
    }

    async fn unpublish(&self, request: v1::Unpublish, _: Caller) -> Result<(), ApiError> {
        self.note(format!("unpublish {request:?}"));
        Ok(())
    }

    async fn nodes(&self) -> Result<Vec<v1::Node>, ApiError> {
        Ok(vec![node("host-b")])
    }

    async fn node(&self, name: &str) -> Result<v1::Node, ApiError> {
        match name {
            "host-b" => Ok(node(name)),
            _ => Err(ApiError::unknown("node", name, ["host-b"])),
        }
    }

    async fn remove_node(&self, name: &str, caller: Caller) -> Result<(), ApiError> {
        self.node(name).await?;
        match caller.force {
            true => Ok(()),
            false => Err(ApiError::conflict("its daemon is running")),
        }
    }

    async fn denials(&self) -> Result<Vec<v1::Denial>, ApiError> {
        Ok(vec![denial()])
    }

    async fn deny(&self, request: v1::Deny) -> Result<(), ApiError> {
        self.note(format!("{request:?}"));
        Ok(())
    }

    async fn remove_denials(&self, request: v1::DenyRemove) -> Result<(), ApiError> {
        self.note(format!("{request:?}"));
        Ok(())
    }

    async fn maps(&self) -> Result<Vec<v1::MapInfo>, ApiError> {
        Ok(Vec::new())
    }

    async fn map(&self, table: v1::MapTable) -> Result<v1::MapDump, ApiError> {
        match table {
            v1::MapTable::Ports => Ok(v1::MapDump::Ports(vec![port("web")])),
            v1::MapTable::Peers => Ok(v1::MapDump::Empty([])),
            _ => Err(ApiError::unavailable("the maps are not loaded")),
        }
    }

    async fn status(&self) -> Result<v1::Status, ApiError> {
        Ok(self.state().status.clone())
    }

    async fn teardown(&self) -> Result<(), ApiError> {
        self.note("teardown".to_owned());
        Ok(())
    }

    fn events(&self) -> broadcast::Receiver<commands::Event> {
        self.events.subscribe()
    }
}
