//! Etcd.

use netpath_tests::{
    contract::Subject,
    stores::{Etcd, Servers},
};

fn subject() -> Subject {
    let servers = start(1);
    Subject {
        store: servers.open(&servers.settings()),
        environment: Box::new(servers),
    }
}

fn start(members: usize) -> Etcd {
    Etcd::start(members, &[])
}

mod nodes;

mod contract {
    netpath_tests::contract_tests!(super::subject);
}

mod failures {
    crate::failure_tests!(super::start);
}

mod security {
    use netpath_tests::stores::Etcd;

    crate::security_tests!(Etcd::start_tls, Etcd::start_with_users);
}

mod daemon {
    crate::daemon_tests!("etcd", super::start);
}
