//! BPF programs run by BPF_PROG_TEST_RUN on a prepared node.

mod bpffs;
mod flows;
mod node;
pub mod overlay;

use std::{collections::BTreeMap, time::Duration};

use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use netpath::{
    datapath::read::MapUse,
    datapath::{
        Datapath, Limits, NodeSettings, pins, read,
        run::{Outcome, Trial},
        tables::Tables,
    },
    plan::denied::DeniedEntry,
};
use netpath_common::{
    addr::Addr,
    flow::{FlowEntry, FlowKey, ORIGINAL, REPLY, Timers, UNCOUNTED},
    maps::{
        Config, Count, Cursor, HALF_OPEN_BLOCK, HalfOpenBlock, MAX_OUTER_TUPLES, OuterTuple, Usage,
    },
    reason::{Reason, Verdict},
};

use crate::Netns;
pub use bpffs::Bpffs;
pub use flows::{Flow, Shown};
pub use node::{Family, MAC_OUTSIDE, MAC_UPLINK, endpoint, gateway_mac, port, sandbox_mac};

/// Names of the packet programs, and of the program that removes flows.
pub const UPLINK_INGRESS: &str = "uplink_ingress";
/// See [`UPLINK_INGRESS`].
pub const UPLINK_EGRESS: &str = "uplink_egress";
/// See [`UPLINK_INGRESS`].
pub const ENDPOINT_IN: &str = "endpoint_in";
/// See [`UPLINK_INGRESS`].
pub const ENDPOINT_OUT: &str = "endpoint_out";
/// See [`UPLINK_INGRESS`].
pub const SWEEP: &str = "sweep";

/// The packet programs.
pub const PACKET_PROGRAMS: [&str; 4] = [UPLINK_INGRESS, UPLINK_EGRESS, ENDPOINT_IN, ENDPOINT_OUT];

/// The kernel's values of the verdicts (`enum tcx_action_base`).
const TCX_NEXT: u32 = u32::MAX;
const TCX_DROP: u32 = 2;
const TCX_REDIRECT: u32 = 7;

/// The verdict of a program's return value; `None` for a value that no program may return.
pub const fn verdict(value: u32) -> Option<Verdict> {
    match value {
        TCX_NEXT => Some(Verdict::Pass),
        TCX_REDIRECT => Some(Verdict::Forward),
        TCX_DROP => Some(Verdict::Drop),
        _ => None,
    }
}

/// Number of endpoint slots of the node.
const SLOTS: u32 = 16;

/// The settings of a [`Prog`].
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// Capacities of the maps.
    pub limits: Limits,
    /// Idle limits of flows.
    pub timers: Timers,
}

impl Setup {
    /// Maps with room for this many flows, and for this many half-open flows; no quota applies.
    pub fn sized(flows: u32, half_open: u32) -> Self {
        Self {
            limits: Limits {
                flows,
                half_open: Some(half_open),
                flows_per_sandbox: Some(u32::MAX),
            },
            ..Self::default()
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: Limits {
                flows: 1024,
                half_open: Some(256),
                flows_per_sandbox: None,
            },
            timers: Timers::DEFAULT,
        }
    }
}

/// Loaded programs, and the maps of the node that `node.rs` describes.
pub struct Prog {
    /// The programs and the maps that the daemon writes.
    pub datapath: Datapath,
    flows: HashMap<MapData, FlowKey, FlowEntry>,
    cursors: Array<MapData, u32>,
    usage: Array<MapData, Usage>,
    outer_tuples: HashMap<MapData, FlowKey, OuterTuple>,
    half_open: Array<MapData, HalfOpenBlock>,
    index: Array<MapData, FlowKey>,
    config: Array<MapData, Config>,
    counters: PerCpuArray<MapData, Count>,
    bpffs: Bpffs,
}

/// The context in which a program processes a packet: devices, GSO size and mark.
#[derive(Clone, Debug, Default)]
pub struct PacketContext {
    /// The device of the hook.
    pub device: String,
    /// The device the packet was received on; none if the node sends it.
    pub from: Option<String>,
    /// Bytes of a segment of a GSO packet; 0 for other packets.
    pub gso_size: u32,
    /// The packet's mark.
    pub mark: u32,
}

impl PacketContext {
    /// A packet that the node sends at a device.
    pub fn at(device: &str) -> Self {
        Self {
            device: device.to_owned(),
            ..Self::default()
        }
    }
}

impl Prog {
    /// Creates a node in a network namespace of its own and calls `work` on a thread inside it.
    pub fn with<T: Send>(setup: Setup, work: impl FnOnce(&mut Self) -> T + Send) -> T {
        let netns = Netns::new("prog");
        node::make_devices(&netns);
        netns.enter(|| {
            let mut prog = Self::load(setup);
            node::fill(&mut prog.datapath.tables);
            work(&mut prog)
        })
    }

    fn load(setup: Setup) -> Self {
        let bpffs = Bpffs::mount();
        let directory = bpffs.path().join("netpath");
        let settings = NodeSettings {
            netns_cookie: 1,
            secret: 0x0123_4567_89ab_cdef,
            fragment_key: 0xfedc_ba98_7654_3210,
            timers: setup.timers,
        };
        let datapath = Datapath::load(&directory, setup.limits, settings, None)
            .unwrap_or_else(|error| panic!("the programs are not loaded: {error:#?}"));
        let open = |name| MapData::from_pin(pins::maps_dir(&directory).join(name)).expect(name);
        let config: Array<_, Config> = Array::try_from(Map::Array(open("config"))).expect("config");
        Self {
            flows: HashMap::try_from(Map::HashMap(open("flows"))).expect("flows"),
            cursors: Array::try_from(Map::Array(open("cursors"))).expect("cursors"),
            usage: Array::try_from(Map::Array(open("usage"))).expect("usage"),
            outer_tuples: HashMap::try_from(Map::HashMap(open("outer_tuples")))
                .expect("outer_tuples"),
            half_open: Array::try_from(Map::Array(open("half_open"))).expect("half_open"),
            index: Array::try_from(Map::Array(open("flow_index"))).expect("flow_index"),
            counters: PerCpuArray::try_from(Map::PerCpuArray(open("counters"))).expect("counters"),
            config,
            datapath,
            bpffs,
        }
    }

    /// The maps that the daemon writes.
    pub fn tables(&mut self) -> &mut Tables {
        &mut self.datapath.tables
    }

    /// Runs a program on a packet.
    ///
    /// # Panics
    /// If the kernel refuses the packet.
    #[track_caller]
    pub fn run(&mut self, program: &str, context: &PacketContext, packet: &[u8]) -> Outcome {
        self.try_run(program, context, packet)
            .unwrap_or_else(|error| panic!("{program}: {error:?}"))
    }

    /// Runs a program on a packet; `Err` if the kernel refuses the packet.
    pub fn try_run(
        &mut self,
        program: &str,
        context: &PacketContext,
        packet: &[u8],
    ) -> Result<Outcome, netpath::datapath::DatapathError> {
        let trial = Trial {
            packet,
            ifindex: index_of(&context.device),
            ingress_ifindex: context.from.as_deref().map_or(0, index_of),
            gso_size: context.gso_size,
            mark: context.mark,
        };
        self.datapath.run(program, &trial)
    }

    /// Time of a program for a packet: the median of `repeat` runs, less the median of a program that does nothing.
    ///
    /// Each run gets the original packet. The kernel's own repetition would pass on the changed packet.
    pub fn time(
        &mut self,
        program: &str,
        context: &PacketContext,
        packet: &[u8],
        repeat: usize,
    ) -> Duration {
        let mut median = |program: &str, packet: &[u8]| {
            let mut times: Vec<_> = (0..repeat.max(1))
                .map(|_| self.run(program, context, packet).duration)
                .collect();
            times.sort_unstable();
            times[times.len() / 2]
        };
        let nothing = median(SWEEP, &[0; 15]);
        median(program, packet).saturating_sub(nothing)
    }

    /// Packets and bytes by reason, in the order of [`Reason::ALL`].
    pub fn counters(&self) -> Vec<(Reason, u64, u64)> {
        let sum = |reason: Reason| {
            let counts = self.counters.get(&(reason as u32), 0).expect("counters");
            counts
                .iter()
                .fold((reason, 0, 0), |(_, packets, bytes), count| {
                    (reason, packets + count.packets, bytes + count.bytes)
                })
        };
        Reason::ALL.iter().map(|reason| sum(*reason)).collect()
    }

    /// Every pinned map, with its memory.
    pub fn maps(&self) -> Vec<MapUse> {
        read::list(&self.bpffs.path().join("netpath")).expect("maps")
    }

    /// Every flow entry.
    pub fn entries(&self) -> Vec<(FlowKey, FlowEntry)> {
        self.flows.iter().collect::<Result<_, _>>().expect("flows")
    }

    /// Every flow.
    pub fn flows(&self) -> Vec<Flow> {
        Flow::of(&self.entries())
    }

    /// Number of flows of a slot; each must have both entries.
    pub fn flows_of(&self, slot: u32) -> usize {
        let of_slot = |role| {
            let entries = self.flows.iter().map(|entry| entry.expect("flows"));
            let entries = entries.filter(|(_, entry)| entry.endpoint == slot && entry.role == role);
            entries.count()
        };
        let (original, reply) = (of_slot(ORIGINAL), of_slot(REPLY));
        assert_eq!(original, reply, "entries of both directions");
        original
    }

    /// Writes a flow entry and counts it, as a program does.
    pub fn put_entry(&mut self, key: &FlowKey, entry: &FlowEntry) {
        self.flows.insert(key, entry, 0).expect("flows");
        if entry.role == REPLY {
            self.change_usage(entry.endpoint, |usage| {
                if entry.bookkeeping == UNCOUNTED {
                    usage.unsustained += 1;
                } else {
                    usage.flows += 1;
                }
            });
        }
    }

    /// The number of flows of a slot that count against the quota.
    pub fn usage(&self, slot: u32) -> i32 {
        self.counts(slot).flows
    }

    /// The counts of a slot.
    pub fn counts(&self, slot: u32) -> Usage {
        self.usage.get(&slot, 0).expect("usage")
    }

    fn change_usage(&mut self, slot: u32, change: impl FnOnce(&mut Usage)) {
        let mut usage = self.usage.get(&slot, 0).expect("usage");
        change(&mut usage);
        self.usage.set(slot, usage, 0).expect("usage");
    }

    /// Slots whose counts of flows differ from their numbers of flows. Each count is of flows that count against the quota, and
    /// of others.
    pub fn wrong_usage(&self) -> Vec<(u32, [i32; 2], [i32; 2])> {
        let mut flows: BTreeMap<_, [i32; 2]> = BTreeMap::new();
        for (_, entry) in self.entries() {
            if entry.role == REPLY {
                let counts = flows.entry((entry.endpoint, entry.generation)).or_default();
                counts[usize::from(entry.bookkeeping == UNCOUNTED)] += 1;
            }
        }
        (0..SLOTS)
            .filter_map(|slot| {
                let usage = self.counts(slot);
                let there = flows.get(&(slot, usage.generation));
                let (counted, there) = (
                    [usage.flows, usage.unsustained],
                    there.copied().unwrap_or_default(),
                );
                (counted != there).then_some((slot, counted, there))
            })
            .collect()
    }

    /// Removes all flows and clears the rings that refer to them.
    pub fn forget_flows(&mut self) {
        for (key, _) in self.entries() {
            self.flows.remove(&key).expect("flows");
        }
        for slot in 0..SLOTS {
            let usage = self.counts(slot);
            // Slot 0 counts the connections of the node itself.
            if slot == 0 || usage.generation != 0 {
                self.forget_half_open(slot, &usage);
                self.change_usage(slot, |usage| {
                    *usage = Usage {
                        generation: usage.generation,
                        ..Usage::default()
                    };
                });
            }
        }
        let cursor = Cursor::FlowIndex as u32;
        let used = self.cursors.get(&cursor, 0).expect("cursors");
        for slot in 0..used.min(self.index.len()) {
            let cleared = self.index.set(slot, FlowKey::default(), 0);
            cleared.expect("flow_index");
        }
        self.cursors.set(cursor, 0, 0).expect("cursors");
    }

    /// Clears the used elements of the rings of half-open flows.
    fn forget_half_open(&mut self, slot: u32, usage: &Usage) {
        let size = self.config().half_open_mask + 1;
        for (direction, next) in (0..).zip(usage.half_open_next) {
            if next > 0 {
                let first = (2 * slot + direction) * size;
                // A flow examines some elements beyond the one that it takes.
                let last = first + (next + HALF_OPEN_BLOCK).min(size - 1);
                for block in first / HALF_OPEN_BLOCK..=last / HALF_OPEN_BLOCK {
                    let cleared = self.half_open.set(block, HalfOpenBlock::default(), 0);
                    cleared.expect("half_open");
                }
            }
        }
    }

    /// The node's settings.
    pub fn config(&self) -> Config {
        self.config.get(&0, 0).expect("config")
    }

    /// Fills the map of outer tuples that belong to no flow.
    pub fn fill_outer_tuples(&mut self) {
        let tuple = OuterTuple {
            expires: u64::MAX,
            ..OuterTuple::default()
        };
        for number in 0..MAX_OUTER_TUPLES {
            let key = FlowKey {
                src: Addr::from_raw_v4(number),
                ..FlowKey::default()
            };
            self.outer_tuples
                .insert(key, tuple, 0)
                .expect("outer_tuples");
        }
    }

    /// Removes the outer tuples that belong to no flow.
    fn forget_outer_tuples(&mut self) {
        let keys: Result<Vec<_>, _> = self.outer_tuples.keys().collect();
        for key in keys.expect("outer_tuples") {
            self.outer_tuples.remove(&key).expect("outer_tuples");
        }
    }

    fn forget_denied(&mut self) {
        let tables = self.tables();
        let denied: Vec<_> = tables
            .all::<DeniedEntry>()
            .expect("denied")
            .into_keys()
            .collect();
        if !denied.is_empty() {
            tables.remove::<DeniedEntry>(&denied).expect("denied");
        }
    }

    /// Restores the state after loading.
    pub fn reset(&mut self) {
        self.forget_flows();
        self.forget_outer_tuples();
        self.forget_denied();
        node::fill(&mut self.datapath.tables);
    }
}

/// The index of an interface in the calling thread's network namespace; 0 for an empty name.
#[track_caller]
fn index_of(device: &str) -> u32 {
    if device.is_empty() {
        return 0;
    }
    nix::net::if_::if_nametoindex(device).unwrap_or_else(|error| panic!("{device}: {error}"))
}
