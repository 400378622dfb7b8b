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

/// The minimum, because other load on the machine only increases the time.
fn shortest(times: &[Duration]) -> Duration {
    times.iter().copied().min().unwrap_or_default()
}

#[test]
fn endpoint_cost_is_independent_of_their_number() {
    in_fresh_namespaces(|| async {
        let scratch = Scratch::new("speed");
        let kernel = node_with_bridge().await;
        let mut namespace_times = Vec::new();
        let mut host_times = Vec::new();
        let mut container_times = Vec::new();
        let mut observe_times = Vec::new();
        for number in 1..=ENDPOINTS {
            let name = format!("npv-{number:010x}");
            let wanted = veth(scratch.0.join(format!("netns/{number}")), number);
            let start = Instant::now();
            netns::create(&wanted.netns, false).expect("namespace");
            namespace_times.push(start.elapsed());
            let start = Instant::now();
            kernel.create_veth(&name, &wanted).await.expect("create");
            kernel
                .set_veth(&name, &wanted.bridge, wanted.mtu, wanted.rate)
                .await
                .expect("host interface");
            host_times.push(start.elapsed());
            let start = Instant::now();
            kernel
                .set_inside(&name, &wanted, true)
                .await
                .expect("inside");
            container_times.push(start.elapsed());
            let start = Instant::now();
            let (index, _) = kernel
                .observe_veth(&name)
                .await
                .expect("observe")
                .expect("veth");
            kernel
                .observe_inside(&wanted, index)
                .await
                .expect("observe")
                .expect("inside");
            observe_times.push(start.elapsed());
        }
        let name = |number: u16| format!("npv-{number:010x}");
        let start = Instant::now();
        kernel.delete_link(&name(1)).await.expect("delete");
        println!("delete one: {:?}", start.elapsed());
        let names: Vec<String> = (1..=ENDPOINTS).map(name).collect();
        let start = Instant::now();
        kernel.delete_links(&names).await.expect("delete");
        println!("delete {}: {:?}", names.len() - 1, start.elapsed());
        kernel.delete_links(&names).await.expect("delete again");
        assert!(kernel.observe_veths().await.expect("observe").is_empty());
        for (what, times) in [
            ("namespace", &namespace_times),
            ("host interface", &host_times),
            ("container link", &container_times),
            ("observe", &observe_times),
        ] {
            let (first, last) = (
                shortest(&times[..SAMPLE]),
                shortest(&times[times.len() - SAMPLE..]),
            );
            let mut sorted = times.clone();
            sorted.sort();
            let median = sorted[sorted.len() / 2];
            println!(
                "{what}: first {first:?}, last {last:?} of {ENDPOINTS}, median of all {median:?}"
            );
            assert!(
                last < first * 3 + Duration::from_millis(1),
                "{what}: increased from {first:?} to {last:?}"
            );
        }
    });
}
