//! TLS and authentication, on each kind. `security_tests!` runs them on one kind.

use netpath::store::{Expected, RemoteProblem, RemoteSettings, StoreError};
use netpath_tests::{
    eventually,
    stores::{Certificates, Servers},
};

/// The tests of this module. `$tls` starts a server that demands certificates of clients, `$token` one that demands the
/// token that it returns.
#[macro_export]
macro_rules! security_tests {
    ($tls:path, $token:path) => {
        #[test]
        fn certificates_are_checked_on_both_sides() {
            $crate::security::certificates_are_checked_on_both_sides($tls);
        }

        #[test]
        fn token_is_required() {
            $crate::security::token_is_required($token);
        }
    };
}

fn problem<T>(result: Result<T, StoreError>) -> RemoteProblem {
    match result.err().expect("an error") {
        StoreError::Remote(error) => {
            assert!(error.server.starts_with("127.0.0.1:"), "{error}");
            assert!(!error.call.is_empty(), "{error}");
            error.problem
        }
        error => panic!("{error}"),
    }
}

pub fn certificates_are_checked_on_both_sides<S: Servers>(start: fn(&Certificates) -> S) {
    let files = Certificates::new();
    let servers = start(&files);
    let valid = RemoteSettings {
        ca: Some(files.path("ca.pem")),
        cert: Some(files.path("client.pem")),
        key: Some(files.path("client.key")),
        ..servers.settings()
    };
    let store = servers.open(&valid);
    eventually("the server serves", 30, || store.list("").is_ok());
    let revision = store.put_if("a", b"1", Expected::Nothing).unwrap();
    assert_eq!(store.get("a").unwrap().unwrap().revision, revision);
    let mut watch = store.watch("");
    store.put_if("b", b"1", Expected::Nothing).unwrap();
    assert_eq!(super::failures::next(&mut watch).unwrap().key, "b");

    let wrong_authority = RemoteSettings {
        ca: Some(files.path("other.pem")),
        ..valid.clone()
    };
    let without_certificate = RemoteSettings {
        cert: None,
        key: None,
        ..valid.clone()
    };
    for settings in [wrong_authority, without_certificate] {
        let problem = problem(servers.open(&settings).list(""));
        assert!(
            matches!(problem, RemoteProblem::Certificate(_)),
            "{problem}"
        );
    }
    // A client without TLS gets a response that is no valid one, or none.
    let error = servers.open(&servers.settings()).list("").unwrap_err();
    assert!(matches!(error, StoreError::Remote(_)), "{error}");
    let mut wrong_name = valid.clone();
    wrong_name.servers[0].host = "localhost".to_owned();
    let error = servers.open(&wrong_name).list("").unwrap_err();
    assert!(error.to_string().contains("TLS failed"), "{error}");
}

pub fn token_is_required<S: Servers>(start: fn() -> (S, String)) {
    let files = Certificates::new();
    let (mut servers, token) = start();
    let valid = RemoteSettings {
        token: Some(files.file("token", &format!("{token}\n"))),
        ..servers.settings()
    };
    let store = servers.open(&valid);
    eventually("the server serves", 30, || store.list("").is_ok());
    store.put_if("a", b"1", Expected::Nothing).unwrap();
    let mut watch = store.watch("");
    store.put_if("b", b"1", Expected::Nothing).unwrap();
    assert_eq!(super::failures::next(&mut watch).unwrap().key, "b");
    let wrong = RemoteSettings {
        token: Some(files.file("wrong", "root:wrong")),
        ..servers.settings()
    };
    for settings in [wrong, servers.settings()] {
        let error = servers.open(&settings).list("").unwrap_err();
        assert!(!error.can_retry(), "{error}");
        let problem = problem::<()>(Err(error));
        assert!(matches!(problem, RemoteProblem::Token(_)), "{problem}");
    }
    // A token that etcd has issued is not valid after its restart.
    servers.kill(0);
    servers.resume(0);
    eventually("the server serves", 30, || store.list("").is_ok());
    store.put_if("c", b"1", Expected::Nothing).unwrap();
    while super::failures::next(&mut watch).map(|event| event.key) != Ok("c".to_owned()) {}
}
