//! Invalid requests: each is refused with a clear error and changes nothing. Needs root.
//!
//! Every request is a test; the requests of a table share a node.
#![expect(
    clippy::expect_used,
    reason = "a failed expectation is a failed test, and a panic reports it"
)]

mod cli;
mod http;

use std::process::ExitCode;

use netpath_tests::{
    Transport, checks,
    fixture::{Fixture, NodeState, populated_node},
    table::{self, Outcome, Requests, Table},
};

/// The last case of each table.
const RESTART: &str = "(no request) a restart changes nothing either";

fn main() -> ExitCode {
    let mut tables = cli::tables();
    tables.push(http::table());
    let checks = checks![http::class6_oversized_nested_or_incomplete_requests_are_refused];
    table::main(tables, checks)
}

/// A table of requests that a node refuses without a change. `refuse` sends the request of a case and checks the reply.
fn refusals(
    name: &'static str,
    cases: impl Fn() -> Vec<String> + 'static,
    refuse: impl Fn(&Fixture, &str) -> Outcome + 'static,
) -> Table {
    let names = move || cases().into_iter().chain([RESTART.to_owned()]).collect();
    let serve = move |requests: &mut Requests| {
        let mut fixture = populated_node();
        let host = fixture.host().clone();
        let mut listeners = [host.spawn("nc -lk 9090"), host.spawn("nc -luk 9091")];
        listeners[0].wait_for_port(&host, Transport::Tcp, 9090);
        listeners[1].wait_for_port(&host, Transport::Udp, 9091);
        let before = NodeState::of(&fixture);
        requests.serve(|case| {
            let outcome = if case == RESTART {
                fixture.assert_published(8080, "web");
                fixture.daemon.restart();
                Ok(())
            } else {
                refuse(&fixture, case)
            };
            assert_eq!(NodeState::of(&fixture), before, "after {case}");
            outcome
        });
    };
    Table::new(name, names, serve)
}
