//! Loads the BPF object: programs that use the pinned maps.

use std::path::{Path, PathBuf};

use aya::{Ebpf, EbpfLoader, maps::MapInfo};
use netpath_common::{
    flow::Timers,
    maps::{
        BYTES_PER_FLOW, Config, DEFAULT_FLOWS, DEFAULT_HALF_OPEN, HALF_OPEN_BLOCK,
        LEAST_DEFAULT_FLOWS, MAX_HALF_OPEN_ELEMENTS, MIN_HALF_OPEN_ELEMENTS,
    },
};

use super::{
    DatapathError,
    attach::{Mode, XdpState},
    object, pins,
    probe::{CHECKSUM_IPV6, Features, MARK, SKIP_NEIGHBOUR, SOURCE},
    programs::{self, PROBE, classifier},
    tables::Tables,
};

/// Sizes that are fixed when the maps are created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Capacity of the flow table, in flows.
    pub flows: u32,
    /// Most half-open flows of one endpoint and direction; an eighth of the table, at most [`DEFAULT_HALF_OPEN`], if
    /// `None`.
    pub half_open: Option<u32>,
    /// Quota of TCP flows and sustained flows of one sandbox on each of its networks; a quarter of the table if `None`.
    pub flows_per_sandbox: Option<u32>,
}

impl Limits {
    /// The defaults for a machine with this many bytes of memory. A full table uses at most a sixteenth of it, except at the
    /// minimum size of the table.
    pub fn for_memory(bytes: u64) -> Self {
        let mut flows = DEFAULT_FLOWS;
        while flows > LEAST_DEFAULT_FLOWS
            && u64::from(flows) * BYTES_PER_FLOW > bytes / MEMORY_SHARE
        {
            flows /= 2;
        }
        Self {
            flows,
            half_open: None,
            flows_per_sandbox: None,
        }
    }
}

/// By default, a full table uses at most one sixteenth of the machine's memory.
const MEMORY_SHARE: u64 = 16;

/// Settings of the node that the programs read.
#[derive(Clone, Copy, Debug)]
pub struct NodeSettings {
    /// Cookie of the node's network namespace.
    pub netns_cookie: u64,
    /// Random key for the choice of ports. Pinned maps keep the key that they have.
    pub secret: u64,
    /// Random key for the identifications of fragmented datagrams. Pinned maps keep the key that they have.
    pub fragment_key: u64,
    /// Idle limits of flows.
    pub timers: Timers,
}

/// Loaded programs and their maps.
pub struct Datapath {
    pub(super) ebpf: Ebpf,
    pub(super) bpf_dir: PathBuf,
    /// Names of the maps that must be pinned.
    pub(super) pinned: Vec<String>,
    /// The cgroup that socket programs are attached to.
    pub(super) cgroup: Option<PathBuf>,
    /// How programs are attached to devices.
    pub(super) mode: Mode,
    /// Which interfaces use XDP.
    pub(super) xdp: XdpState,
    /// Optional features of the running kernel.
    pub(super) features: Features,
    /// The maps.
    pub tables: Tables,
}

impl Datapath {
    /// Loads all programs with the maps that are pinned below `bpf_dir`, and creates missing maps. Attached programs stay
    /// attached, and the loaded ones are not attached yet. `mode` is how they will be attached; the kernel decides if it is
    /// `None`.
    ///
    /// # Errors
    /// If the directory is not on bpffs, pinned maps have another layout, or the kernel rejects a map or program.
    pub fn load(
        bpf_dir: &Path,
        limits: Limits,
        settings: NodeSettings,
        mode: Option<Mode>,
    ) -> Result<Self, DatapathError> {
        let mode = Mode::choose(mode)?;
        let object = object::bytes()?;
        pins::prepare(bpf_dir)?;
        let index = limits.flows.max(2).next_power_of_two();
        let maps = pins::maps_dir(bpf_dir);
        let spec = spec(object)?;
        for (name, wanted) in &spec {
            check_layout(&maps.join(name), name, wanted)?;
        }
        let mut loader = EbpfLoader::new();
        loader.default_map_pin_directory(&maps);
        loader.map_max_entries("flows", limits.flows.saturating_mul(2));
        loader.map_max_entries("half_open", half_open_elements(limits) / HALF_OPEN_BLOCK);
        loader.map_max_entries("flow_index", index);
        let mut ebpf = loader.load(object)?;
        programs::load(&mut ebpf, bpf_dir, mode == Mode::Tcx)?;
        let mut tables = Tables::open(&maps)?;
        tables.restore()?;
        let sizes = table_sizes(&maps)?;
        let features = Features::probe(classifier(&mut ebpf, PROBE)?)?;
        tables.set_node(|old| Ok(configured(old, settings, limits, &sizes, features)))?;
        tables.write_shares()?;
        let pinned = ebpf.maps().map(|(name, _)| name.to_owned());
        let pinned = pinned.filter(|name| maps.join(name).exists()).collect();
        Ok(Self {
            ebpf,
            pinned,
            bpf_dir: bpf_dir.to_owned(),
            cgroup: None,
            mode,
            xdp: XdpState::default(),
            features,
            tables,
        })
    }
}

impl Datapath {
    /// Optional features of the running kernel.
    pub fn features(&self) -> Features {
        self.features
    }
}

/// Layout of a map: type, key size, value size, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    kind: u32,
    key: u32,
    value: u32,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "type {}, {}-byte keys and {}-byte values",
            self.kind, self.key, self.value
        )
    }
}

/// The maps that the object declares.
fn spec(object: &[u8]) -> Result<Vec<(String, Layout)>, DatapathError> {
    let parsed = aya_obj::Object::parse(object)
        .map_err(|error| DatapathError::Missing(error.to_string()))?;
    Ok(parsed
        .maps
        .iter()
        .filter(|(name, _)| !name.starts_with('.'))
        .map(|(name, map)| {
            (
                name.clone(),
                Layout {
                    kind: map.map_type(),
                    key: map.key_size(),
                    value: map.value_size(),
                },
            )
        })
        .collect())
}

/// Fails if a map is pinned with another layout. aya does not compare layouts, so entries would be misread.
fn check_layout(pin: &Path, name: &str, expected: &Layout) -> Result<(), DatapathError> {
    if !pin.exists() {
        return Ok(());
    }
    let info = MapInfo::from_pin(pin).map_err(|source| DatapathError::Map {
        map: "pinned",
        source,
    })?;
    let kind = info.map_type().map_err(|source| DatapathError::Map {
        map: "pinned",
        source,
    })? as u32;
    let found = Layout {
        kind,
        key: info.key_size(),
        value: info.value_size(),
    };
    if found == *expected {
        return Ok(());
    }
    Err(DatapathError::Layout {
        name: name.to_owned(),
        found: found.to_string(),
        expected: expected.to_string(),
    })
}

/// Actual capacities, in entries, of the flow table and of its index. Pinned maps keep the capacity with which they were
/// created.
struct Sizes {
    flows: u32,
    flow_index: u32,
}

fn table_sizes(maps: &Path) -> Result<Sizes, DatapathError> {
    let size = |map: &'static str| {
        MapInfo::from_pin(maps.join(map))
            .map(|info| info.max_entries())
            .map_err(|source| DatapathError::Map { map, source })
    };
    Ok(Sizes {
        flows: size("flows")?,
        flow_index: size("flow_index")?,
    })
}

/// Elements of the rings of half-open flows of all endpoints: four for each flow of the table, within the limits of the map.
fn half_open_elements(limits: Limits) -> u32 {
    let elements = limits.flows.saturating_mul(4).next_power_of_two();
    elements.clamp(MIN_HALF_OPEN_ELEMENTS, MAX_HALF_OPEN_ELEMENTS)
}

/// By default, one endpoint and direction may have this share of the table as half-open flows.
const HALF_OPEN_SHARE: u32 = 8;

/// The limit of the half-open flows of one endpoint and direction, if the rings of all endpoints fit.
fn half_open_limit(limits: Limits, flows: u32) -> u32 {
    let default = || (flows / HALF_OPEN_SHARE).clamp(1, DEFAULT_HALF_OPEN);
    let limit = limits.half_open.unwrap_or_else(default);
    // Rounded down to a power of two.
    1 << limit.max(1).ilog2()
}

/// By default, the quota of a sandbox is a quarter of the table.
const QUOTA_SHARE: u32 = 4;

fn configured(
    old: Config,
    settings: NodeSettings,
    limits: Limits,
    sizes: &Sizes,
    features: Features,
) -> Config {
    let flag = |known, flag| if known { flag } else { 0 };
    let route_flags = flag(features.skip_neighbour, SKIP_NEIGHBOUR) | flag(features.mark, MARK);
    Config {
        netns_cookie: settings.netns_cookie,
        secret: if old.secret == 0 {
            settings.secret
        } else {
            old.secret
        },
        fragment_key: if old.fragment_key == 0 {
            settings.fragment_key
        } else {
            old.fragment_key
        },
        timers: settings.timers,
        exact_levels: old.exact_levels,
        family_levels: old.family_levels,
        any_levels: old.any_levels,
        own_exact_levels: old.own_exact_levels,
        own_family_levels: old.own_family_levels,
        own_any_levels: old.own_any_levels,
        half_open_mask: old.half_open_mask,
        flow_index_mask: sizes.flow_index - 1,
        route_flags,
        source_flags: route_flags | flag(features.source, SOURCE),
        checksum_v6_flag: flag(features.checksum_ipv6, CHECKSUM_IPV6),
        // A flow has two entries.
        flows_per_sandbox: limits
            .flows_per_sandbox
            .unwrap_or((sizes.flows / 2 / QUOTA_SHARE).max(1)),
        half_open_limit: half_open_limit(limits, sizes.flows / 2),
        fair_share: old.fair_share,
        routes_changed: old.routes_changed,
        swept: old.swept,
        denied: old.denied,
        tunnel_port: old.tunnel_port,
        underlay_v4: old.underlay_v4,
        underlay_v6: old.underlay_v6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flow_capacity_depends_on_memory() {
        const MIB: u64 = 1 << 20;
        for (memory, flows) in [
            (256, 65_536),
            (1_024, 131_072),
            (4_096, 524_288),
            (7_295, 524_288),
            (7_296, 1_048_576),
            (1_048_576, 1_048_576),
        ] {
            assert_eq!(
                Limits::for_memory(memory * MIB).flows,
                flows,
                "{memory} MiB"
            );
        }
    }
}
