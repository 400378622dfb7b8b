//! Consul.

use netpath_tests::{
    contract::Subject,
    stores::{Consul, Servers},
};

fn subject() -> Subject {
    let servers = start(1);
    Subject {
        store: servers.open(&servers.settings()),
        environment: Box::new(servers),
    }
}

fn start(members: usize) -> Consul {
    Consul::start(members)
}

mod contract {
    netpath_tests::contract_tests!(super::subject);
}

mod failures {
    crate::failure_tests!(super::start);
}

mod security {
    use netpath_tests::stores::Consul;

    crate::security_tests!(Consul::start_tls, Consul::start_with_token);
}

mod daemon {
    crate::daemon_tests!("consul", super::start);
}
