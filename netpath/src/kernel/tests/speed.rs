//! The cost of one endpoint must not grow with the number of endpoints.

use std::time::{Duration, Instant};

use super::{
    super::*,
    Scratch,
    endpoint::{node_with_bridge, veth},
    in_fresh_namespaces,
};

const ENDPOINTS: u16 = 200;
const SAMPLE: usize = 40;

/// The quickest: what else the machine does can only add to it.
fn quickest(times: &[Duration]) -> Duration {
    times.iter().copied().min().unwrap_or_default()
}

#[test]
fn the_cost_of_an_endpoint_does_not_grow() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("speed");
        let kernel = node_with_bridge().await;
        let mut making = Vec::new();
        let mut setting = Vec::new();
        let mut looking = Vec::new();
        for number in 1..=ENDPOINTS {
            let name = format!("npv-{number:010x}");
            let wanted = veth(scratch.0.join(format!("netns/{number}")), number);
            netns::create(&wanted.netns).expect("namespace");
            let start = Instant::now();
            kernel.create_veth(&name, &wanted).await.expect("create");
            kernel
                .set_veth(&name, &wanted.bridge, wanted.mtu)
                .await
                .expect("host's end");
            making.push(start.elapsed());
            let start = Instant::now();
            kernel.set_inside(&name, &wanted).await.expect("inside");
            setting.push(start.elapsed());
            let start = Instant::now();
            let (index, _) = kernel
                .observe_veth(&name)
                .await
                .expect("observe")
                .expect("veth");
            kernel
                .observe_inside(&wanted.netns, index)
                .await
                .expect("observe")
                .expect("inside");
            looking.push(start.elapsed());
        }
        let mut removing = Vec::new();
        for number in 1..=ENDPOINTS {
            let start = Instant::now();
            kernel
                .delete_link(&format!("npv-{number:010x}"))
                .await
                .expect("delete");
            removing.push(start.elapsed());
        }
        for (what, times) in [
            ("host's end", &making),
            ("inside", &setting),
            ("observe", &looking),
            ("delete", &removing),
        ] {
            let (first, last) = (
                quickest(&times[..SAMPLE]),
                quickest(&times[times.len() - SAMPLE..]),
            );
            println!("{what}: first {first:?}, last {last:?} of {ENDPOINTS}");
            assert!(
                last < first * 3 + Duration::from_millis(1),
                "{what}: {first:?} has become {last:?}"
            );
        }
    });
}
