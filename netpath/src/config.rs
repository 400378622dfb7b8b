//! The validated settings of the daemon. A flag overrides the key of the file, which overrides the default.

mod docker;
mod error;
mod file;
mod memory;
mod pool;
mod settings;
mod store;

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use ipnet::IpNet;
use nix::unistd::gethostname;

pub use docker::{DEFAULT_DOCKER_SOCKET, DockerMode, DockerSetting};
pub use error::ConfigError;
pub use settings::{AttachMode, DenySettings, LimitSettings, Settings, TimerSettings, XdpMode};
pub use store::StoreKind;

use crate::{datapath::Limits, ipam::Pool, model::Name};
use netpath_common::flow::Timers;

/// Settings file if `--config` is not given; it may be missing.
pub const DEFAULT_FILE: &str = "/etc/netpath/netpath.toml";
/// Default run directory.
pub const DEFAULT_RUN_DIR: &str = "/run/netpath";
/// Default state directory.
pub const DEFAULT_STATE_DIR: &str = "/var/lib/netpath";
/// Default directory for pins.
pub const DEFAULT_BPF_DIR: &str = "/sys/fs/bpf/netpath";
/// Name of a symbolic link in the run directory to the directory for pins, with which the command line finds the maps
/// without the daemon.
pub const PINS_LINK: &str = "pins";
/// Socket of the HTTP API in the default run directory.
pub const DEFAULT_SOCKET: &str = "/run/netpath/netpath.sock";

/// Default time between two periodic reconciles.
pub const DEFAULT_RECONCILE: Duration = Duration::from_secs(5);

/// Validated settings of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Name of the node; the host name by default.
    pub node: Name,
    /// Directory of the socket, the lock and the namespaces; empty after a reboot.
    pub run_dir: PathBuf,
    /// Directory of the store.
    pub state_dir: PathBuf,
    /// Directory for pinned maps and links, on a bpffs.
    pub bpf_dir: PathBuf,
    /// The API's socket; `netpath.sock` in the run directory by default.
    pub socket: PathBuf,
    /// The cgroup that the socket programs are attached to; found by the daemon if `None`.
    pub cgroup: Option<PathBuf>,
    /// Names of the interfaces that serve published ports, and through which sandboxes send; every interface if empty.
    pub uplinks: Vec<String>,
    /// Kind of the store.
    pub store: StoreKind,
    /// This node's address for tunnels to other nodes.
    pub underlay_address: Option<IpAddr>,
    /// Pools of new subnets, in order of preference. They do not overlap.
    pub pools: Vec<Pool>,
    /// Address for metrics. Always `None`: not supported yet.
    pub metrics: Option<SocketAddr>,
    /// Socket of the Docker Engine whose networks and containers netpath adopts; none if `None`.
    pub docker: Option<PathBuf>,
    /// Where XDP programs check the deny list, before the programs in TC.
    pub xdp: XdpMode,
    /// How programs are attached to devices.
    pub attach: AttachMode,
    /// Time between two periodic reconciles.
    pub reconcile: Duration,
    /// Idle limits of flows.
    pub timers: Timers,
    /// Capacities of the flow table.
    pub limits: Limits,
    /// Prefixes of the deny list that no command can remove.
    pub denied: Arc<BTreeSet<IpNet>>,
}

impl Config {
    /// Mount point of the network namespace of the node. It remains valid after the daemon has exited.
    pub fn host_netns(&self) -> PathBuf {
        self.run_dir.join("host-netns")
    }

    /// Merges the flags with the file that they name, or with [`DEFAULT_FILE`] if it exists. `socket` replaces the
    /// default path of the socket.
    ///
    /// # Errors
    /// If the file cannot be read or has unknown keys, or if a value is not valid or not supported.
    pub fn load(flags: Settings, socket: Option<PathBuf>) -> Result<Self, ConfigError> {
        let file = match &flags.config {
            Some(path) => file::read(path)?,
            None => file::read_if_present(DEFAULT_FILE.as_ref())?,
        };
        Self::resolve(flags.or(file), socket)
    }

    /// Validates merged settings. `socket` replaces the default path of the socket.
    ///
    /// # Errors
    /// If a value is not valid or not supported.
    pub fn resolve(settings: Settings, socket: Option<PathBuf>) -> Result<Self, ConfigError> {
        let store = store::resolve(&settings)?;
        let node = match settings.node {
            Some(node) => node,
            None => host_name()?,
        };
        let node: Name = node
            .parse()
            .map_err(|error| ConfigError::invalid("node", error))?;
        let run_dir = settings.run_dir.unwrap_or_else(|| DEFAULT_RUN_DIR.into());
        if settings.metrics.is_some() {
            return Err(ConfigError::NotSupported { key: "metrics" });
        }
        let docker = docker::resolve(settings.docker, settings.docker_mode)?;
        let pools = if settings.pool.is_empty() {
            pool::defaults(node.as_str(), docker.is_some())
        } else {
            settings.pool
        };
        pool::check_disjoint(&pools)?;
        Ok(Self {
            pools,
            socket: socket.unwrap_or_else(|| run_dir.join("netpath.sock")),
            run_dir,
            state_dir: settings
                .state_dir
                .unwrap_or_else(|| DEFAULT_STATE_DIR.into()),
            bpf_dir: settings.bpf_dir.unwrap_or_else(|| DEFAULT_BPF_DIR.into()),
            cgroup: settings.cgroup,
            uplinks: settings.uplink,
            store,
            underlay_address: settings.underlay_address,
            metrics: None,
            docker,
            xdp: settings.xdp.unwrap_or_default(),
            attach: settings.attach.unwrap_or_default(),
            reconcile: match settings.reconcile_s {
                Some(seconds) => {
                    Duration::from_nanos(settings::nanoseconds("reconcile_s", seconds)?)
                }
                None => DEFAULT_RECONCILE,
            },
            timers: settings.timers.resolve()?,
            limits: settings.limits.resolve()?,
            denied: settings.deny.resolve()?,
            node,
        })
    }
}

fn host_name() -> Result<String, ConfigError> {
    gethostname()
        .map_err(|error| {
            ConfigError::invalid("node", format!("cannot read the host name: {error}"))
        })?
        .into_string()
        .map_err(|name| ConfigError::invalid("node", format!("{name:?} is not UTF-8")))
}

#[cfg(test)]
mod tests;
