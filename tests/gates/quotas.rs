//! What one sandbox may take of what all share.

use crate::{
    datagrams::Datagrams,
    flow::Carries,
    gate::Offloads,
    peer::{self, How, Question},
    segments::published,
    stage::{OUTSIDE, Stage},
};

const QUOTA: u16 = 200;

fn flows_of(stage: &Stage, sandbox: &str) -> usize {
    stage.flows(&["--sandbox", sandbox]).len()
}

/// C-4, C-5: a sandbox is stopped at its quota of flows, whether it opens them or others open them to it; its neighbour
/// does not notice.
pub fn flows(offloads: Offloads) {
    let stage = offloads.configured(&format!("[limits]\nflows_per_sandbox = {QUOTA}\n"));
    let (_web, ends) = published(&stage);
    let greedy = stage.sandbox("greedy", "shop", &[]);
    let neighbour = stage.sandbox("neighbour", "shop", &[]);
    let _server = peer::serve(stage.outside(), "outside", &["7000"]);

    let before = stage.counted("drop_quota");
    let sockets = [OUTSIDE.0, OUTSIDE.1].map(|address| {
        let own = if address.contains(':') {
            "::"
        } else {
            "0.0.0.0"
        };
        (address, Datagrams::bind(&greedy.netns, own, 0))
    });
    for (address, socket) in &sockets {
        for port in 10_000..10_000 + 2 * QUOTA {
            // What the outside has refused is told at the next call.
            let _ = socket.socket.send_to(b"x", (*address, port));
        }
    }
    let held = flows_of(&stage, "greedy");
    assert!(
        held <= usize::from(QUOTA) && held >= usize::from(QUOTA) - 20,
        "{held}"
    );
    assert!(
        stage.counted("drop_quota") > before,
        "refused flows are counted"
    );

    // From outside to a published port.
    let before = stage.counted("drop_quota");
    for port in 0..2 * QUOTA {
        let flow = ends.from_outside(usize::from(port % 2), Carries::Udp, 10_000 + port);
        ends.send_outside(&flow.answered());
    }
    let held = flows_of(&stage, "web");
    assert!(
        held <= usize::from(QUOTA) && held >= usize::from(QUOTA) - 20,
        "{held}"
    );
    assert!(
        stage.counted("drop_quota") > before,
        "refused flows are counted"
    );

    for address in [OUTSIDE.0, OUTSIDE.1] {
        for how in [How::Tcp, How::Udp] {
            let many: Vec<_> = (0..40).map(|_| Question::new(how, address, 7000)).collect();
            peer::ask_all(&neighbour.netns, &many);
        }
    }
    stage.assert_clean(&[&greedy, &neighbour]);
}
