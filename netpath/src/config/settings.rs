//! Settings as flags and file state them, before validation.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use netpath_common::flow::Timers;
use serde::Deserialize;

use super::{ConfigError, DEFAULT_DOCKER_SOCKET, DockerMode, DockerSetting, memory};
use crate::{
    datapath::Limits,
    ipam::Pool,
    model::{DenyPrefix, request::DENY_LIMIT},
};

/// Settings before validation: each flag of `netpath daemon` is a key of the file, with `_` or `-`.
#[derive(Clone, Debug, Default, PartialEq, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Settings file [default: /etc/netpath/netpath.toml if present]
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Name of this node [default: the host name]
    #[arg(long, value_name = "NAME")]
    pub node: Option<String>,
    /// Directory for the socket and the namespaces [default: /run/netpath]
    #[arg(long, value_name = "DIR")]
    #[serde(alias = "run-dir")]
    pub run_dir: Option<PathBuf>,
    /// Directory for the store [default: /var/lib/netpath]
    #[arg(long, value_name = "DIR")]
    #[serde(alias = "state-dir")]
    pub state_dir: Option<PathBuf>,
    /// Directory for pinned maps and links [default: /sys/fs/bpf/netpath]
    #[arg(long, value_name = "DIR")]
    #[serde(alias = "bpf-dir")]
    pub bpf_dir: Option<PathBuf>,
    /// Cgroup whose processes reach published ports on local addresses [default: the root]
    #[arg(long, value_name = "DIR")]
    pub cgroup: Option<PathBuf>,
    /// Interface that serves published ports and external access; repeatable [default: every interface of the node]
    #[arg(long, value_name = "IFNAME")]
    #[serde(alias = "uplinks", deserialize_with = "one_or_many")]
    pub uplink: Vec<String>,
    /// Store of the desired state: file, etcd://HOST:PORT[,HOST:PORT…] or consul://HOST:PORT[,HOST:PORT…] [default: file]
    #[arg(long, value_name = "STORE")]
    pub store: Option<String>,
    /// Authorities that certify the servers of the store, in PEM; connections use TLS [default: no TLS]
    #[arg(long, value_name = "FILE")]
    #[serde(alias = "store-ca")]
    pub store_ca: Option<PathBuf>,
    /// Certificate of this node for the store, in PEM
    #[arg(long, value_name = "FILE")]
    #[serde(alias = "store-cert")]
    pub store_cert: Option<PathBuf>,
    /// Key of the certificate of this node, in PEM
    #[arg(long, value_name = "FILE")]
    #[serde(alias = "store-key")]
    pub store_key: Option<PathBuf>,
    /// File with the ACL token for Consul, or with USER:PASSWORD for etcd
    #[arg(long, value_name = "FILE")]
    #[serde(alias = "store-token")]
    pub store_token: Option<PathBuf>,
    /// This node's address for tunnels to other nodes
    #[arg(long, value_name = "IP")]
    #[serde(alias = "underlay-address")]
    pub underlay_address: Option<IpAddr>,
    /// Pool of new subnets; repeatable [default: /16 subnets, starting with 172.17.0.0/16]
    #[arg(long, value_name = "CIDR/BITS")]
    #[serde(alias = "pools", deserialize_with = "one_or_many")]
    pub pool: Vec<Pool>,
    /// Address for metrics [default: off]
    #[arg(long, value_name = "ADDR:PORT")]
    pub metrics: Option<SocketAddr>,
    /// Adopt the networks and containers of the Docker Engine at this socket [default: off; without SOCKET
    /// /var/run/docker.sock]
    #[arg(
        long,
        value_name = "SOCKET",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = DEFAULT_DOCKER_SOCKET
    )]
    pub docker: Option<DockerSetting>,
    /// Whether netpath replaces the rules and proxies of Docker Engine [default: replace]
    #[arg(long, value_name = "replace|beside", hide_possible_values = true)]
    #[serde(alias = "docker-mode")]
    pub docker_mode: Option<DockerMode>,
    /// Where XDP programs check the deny list at interfaces of the node [default: off]
    #[arg(long, value_name = "off|native|generic", hide_possible_values = true)]
    pub xdp: Option<XdpMode>,
    /// How programs are attached to devices [default: auto, TCX links if the kernel has them]
    #[arg(long, value_name = "auto|tcx|filter", hide_possible_values = true)]
    pub attach: Option<AttachMode>,
    /// Seconds between two periodic reconciles.
    #[arg(skip)]
    pub reconcile_s: Option<f64>,
    /// Idle limits of flows.
    #[arg(skip)]
    pub timers: TimerSettings,
    /// Capacities of the flow table.
    #[arg(skip)]
    pub limits: LimitSettings,
    /// The deny list.
    #[arg(skip)]
    pub deny: DenySettings,
}

/// Where XDP programs run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum XdpMode {
    /// Nowhere: the deny list is checked in TC only.
    #[default]
    Off,
    /// In the driver.
    Native,
    /// In the stack, for drivers without support.
    Generic,
}

/// How programs are attached to devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttachMode {
    /// TCX links if the kernel has them, else filters.
    #[default]
    Auto,
    /// TCX links (Linux 6.6).
    Tcx,
    /// Filters of the clsact qdisc.
    Filter,
}

impl Settings {
    /// These settings; those that are not set are taken from `fallback`.
    #[must_use]
    pub fn or(self, fallback: Self) -> Self {
        fn non_empty<T>(values: Vec<T>, fallback: Vec<T>) -> Vec<T> {
            if values.is_empty() { fallback } else { values }
        }
        Self {
            config: self.config.or(fallback.config),
            node: self.node.or(fallback.node),
            run_dir: self.run_dir.or(fallback.run_dir),
            state_dir: self.state_dir.or(fallback.state_dir),
            bpf_dir: self.bpf_dir.or(fallback.bpf_dir),
            cgroup: self.cgroup.or(fallback.cgroup),
            uplink: non_empty(self.uplink, fallback.uplink),
            store: self.store.or(fallback.store),
            store_ca: self.store_ca.or(fallback.store_ca),
            store_cert: self.store_cert.or(fallback.store_cert),
            store_key: self.store_key.or(fallback.store_key),
            store_token: self.store_token.or(fallback.store_token),
            underlay_address: self.underlay_address.or(fallback.underlay_address),
            pool: non_empty(self.pool, fallback.pool),
            metrics: self.metrics.or(fallback.metrics),
            docker: self.docker.or(fallback.docker),
            docker_mode: self.docker_mode.or(fallback.docker_mode),
            xdp: self.xdp.or(fallback.xdp),
            attach: self.attach.or(fallback.attach),
            reconcile_s: self.reconcile_s.or(fallback.reconcile_s),
            timers: self.timers.or(fallback.timers),
            limits: LimitSettings {
                flows: self.limits.flows.or(fallback.limits.flows),
                half_open: self.limits.half_open.or(fallback.limits.half_open),
                flows_per_sandbox: self
                    .limits
                    .flows_per_sandbox
                    .or(fallback.limits.flows_per_sandbox),
            },
            deny: if self.deny == DenySettings::default() {
                fallback.deny
            } else {
                self.deny
            },
        }
    }
}

macro_rules! timer_settings {
    ($($(#[doc = $doc:literal])+ $field:ident,)+) => {
        /// `[timers]`: idle limits in seconds, which may be fractional.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct TimerSettings {
            $($(#[doc = $doc])+ pub $field: Option<f64>,)+
        }

        impl TimerSettings {
            pub(super) fn or(self, fallback: Self) -> Self {
                Self { $($field: self.$field.or(fallback.$field),)+ }
            }

            pub(super) fn resolve(self) -> Result<Timers, ConfigError> {
                Ok(Timers {
                    $($field: match self.$field {
                        Some(seconds) => {
                            nanoseconds(concat!("timers.", stringify!($field)), seconds)?
                        }
                        None => Timers::DEFAULT.$field,
                    },)+
                })
            }
        }
    };
}

timer_settings! {
    /// TCP before the first reply.
    tcp_syn_sent,
    /// TCP between the first reply and the end of the handshake.
    tcp_syn_received,
    /// TCP established.
    tcp_established,
    /// TCP after one FIN.
    tcp_half_closed,
    /// TCP after both FINs.
    tcp_closing,
    /// TCP after RST before the handshake was finished.
    tcp_refused,
    /// TCP after RST when the handshake was finished.
    tcp_reset,
    /// UDP without a reply.
    udp_new,
    /// UDP after a reply.
    udp_established,
    /// ICMP echo.
    icmp,
    /// Other protocols.
    other,
    /// Fragments of an incomplete datagram.
    fragment,
}

/// `[limits]`: capacities of the flow table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitSettings {
    /// Capacity of the flow table, 1 to 2^27 flows.
    pub flows: Option<u32>,
    /// Limit of the half-open flows of one endpoint and direction: a power of two up to 2^20.
    #[serde(alias = "half-open")]
    pub half_open: Option<u32>,
    /// Quota of TCP flows and sustained flows of one sandbox on each of its networks, 1 to `flows`.
    #[serde(alias = "flows-per-sandbox")]
    pub flows_per_sandbox: Option<u32>,
}

/// Largest capacity of the flow table, in flows; the full table uses about 57 GiB.
const MAX_FLOWS: u32 = 1 << 27;

/// Largest limit of half-open flows: with it, the two rings of one endpoint take all elements of the map.
const MAX_HALF_OPEN: u32 = netpath_common::maps::MAX_HALF_OPEN_ELEMENTS / 2;

impl LimitSettings {
    pub(super) fn resolve(self) -> Result<Limits, ConfigError> {
        let default = Limits::for_memory(memory::available());
        let limits = Limits {
            flows: self.flows.unwrap_or(default.flows),
            half_open: self.half_open,
            flows_per_sandbox: self.flows_per_sandbox,
        };
        if limits.flows == 0 || limits.flows > MAX_FLOWS {
            return Err(ConfigError::invalid(
                "limits.flows",
                format!("{} is not between 1 and {MAX_FLOWS}", limits.flows),
            ));
        }
        if let Some(half_open) = limits.half_open
            && (!half_open.is_power_of_two() || half_open > MAX_HALF_OPEN)
        {
            return Err(ConfigError::invalid(
                "limits.half_open",
                format!("{half_open} is not a power of two up to {MAX_HALF_OPEN}"),
            ));
        }
        if let Some(quota) = limits.flows_per_sandbox
            && (quota == 0 || quota > limits.flows)
        {
            return Err(ConfigError::invalid(
                "limits.flows_per_sandbox",
                format!(
                    "{quota} is not between 1 and limits.flows ({})",
                    limits.flows
                ),
            ));
        }
        Ok(limits)
    }
}

/// `[deny]`: the deny list of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenySettings {
    /// Prefixes or addresses of hosts outside.
    pub cidrs: Vec<DenyPrefix>,
}

impl DenySettings {
    pub(super) fn resolve(self) -> Result<Arc<BTreeSet<IpNet>>, ConfigError> {
        let prefixes: BTreeSet<IpNet> = self.cidrs.into_iter().map(DenyPrefix::net).collect();
        if prefixes.len() > DENY_LIMIT as usize {
            return Err(ConfigError::invalid(
                "deny.cidrs",
                format!("{} prefixes are more than {DENY_LIMIT}", prefixes.len()),
            ));
        }
        Ok(Arc::new(prefixes))
    }
}

/// Longest idle limit in seconds: ten years.
const MAX_SECONDS: f64 = 10.0 * 365.0 * 86_400.0;

pub(super) fn nanoseconds(key: &'static str, seconds: f64) -> Result<u64, ConfigError> {
    if seconds > 0.0 && seconds <= MAX_SECONDS {
        Ok((seconds * 1e9) as u64)
    } else {
        Err(ConfigError::invalid(
            key,
            format!("{seconds} is not a number of seconds between 0 and {MAX_SECONDS}"),
        ))
    }
}

/// Accepts `key = "a"` and `key = ["a", "b"]`.
fn one_or_many<'de, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    struct Visitor<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Visitor<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a string or a list of strings")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Vec<T>, E> {
            T::deserialize(serde::de::value::StrDeserializer::new(text)).map(|one| vec![one])
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut many = Vec::new();
            while let Some(one) = seq.next_element()? {
                many.push(one);
            }
            Ok(many)
        }
    }

    deserializer.deserialize_any(Visitor(std::marker::PhantomData))
}
