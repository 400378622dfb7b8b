//! What a full table costs.

use netpath_common::{
    addr::Be16,
    flow::{FlowKey, Half, ORIGINAL, REPLY},
    maps::{BYTES_PER_FLOW, LEAST_DEFAULT_FLOWS},
};
use netpath_tests::prog::{Prog, Setup, Side};

#[test]
fn a_full_table_takes_the_memory_that_the_documentation_says() {
    let mut setup = Setup::default();
    setup.limits.flows = LEAST_DEFAULT_FLOWS;
    Prog::with(setup, |prog| {
        let side = Side::BOTH[0];
        let memory = |prog: &Prog| -> u64 {
            let maps = prog.maps();
            let maps = maps
                .iter()
                .filter(|map| matches!(map.name.as_str(), "flows" | "flow_index"));
            maps.map(|map| map.bytes).sum()
        };
        let empty = memory(prog);
        for number in 0..LEAST_DEFAULT_FLOWS {
            let key = FlowKey {
                src: side.sandbox(1).into(),
                dst: side.client().into(),
                sport: Be16::new(number as u16),
                dport: Be16::new((number >> 16) as u16),
                protocol: 6,
                ..FlowKey::default()
            };
            for (key, role) in [(key, ORIGINAL), (key.reversed(), REPLY)] {
                let half = Half {
                    role,
                    ..Half::default()
                };
                prog.put_half(&key, &half);
            }
        }
        let flows = u64::from(LEAST_DEFAULT_FLOWS);
        let full = memory(prog);
        println!(
            "{} bytes for a flow, of which {} before there is one",
            full / flows,
            empty / flows
        );
        // The kernel counts 184 bytes for an element, and takes them from a cache of 192.
        assert!(
            (full + flows * 16).abs_diff(flows * BYTES_PER_FLOW) < flows * BYTES_PER_FLOW / 100,
            "{full} bytes for {flows} flows"
        );
    });
}
