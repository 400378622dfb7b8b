use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::{Running, Scratch};
use crate::frontend::http::{
    client::{Client, ClientError},
    socket::{BindError, bind},
};

#[tokio::test]
async fn only_owner_and_group_may_connect() {
    let running = Running::start();
    let mode = fs::metadata(running.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test]
async fn socket_of_a_running_daemon_is_not_replaced() {
    let running = Running::start();
    assert!(matches!(
        bind(running.socket()),
        Err(BindError::InUse(path)) if path == running.socket()
    ));
    running.client().status().await.unwrap();
}

#[tokio::test]
async fn stale_socket_is_replaced() {
    let scratch = Scratch::new();
    let path = scratch.path("api.sock");
    drop(bind(&path).unwrap());
    assert!(path.exists());
    bind(&path).unwrap();
}

/// No client can connect to a socket without a file.
#[tokio::test]
async fn deleted_socket_file_is_created_again() {
    let running = Running::start();
    fs::remove_file(running.socket()).unwrap();
    let client = running.client();
    assert!(client.status().await.is_err());
    for _ in 0..100 {
        if client.status().await.is_ok() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("the socket file is missing");
}

#[tokio::test]
async fn other_file_at_the_socket_path_is_kept() {
    let scratch = Scratch::new();
    let path = scratch.path("api.sock");
    fs::write(&path, "mine").unwrap();
    assert!(matches!(bind(&path), Err(BindError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "mine");
}

#[tokio::test]
async fn missing_directory_is_reported() {
    let error = bind(Path::new("/nonexistent/dir/api.sock")).unwrap_err();
    assert!(error.to_string().contains("/nonexistent/dir"), "{error}");
}

#[tokio::test]
async fn missing_daemon_is_reported_with_a_hint() {
    let error = Client::new("/nonexistent/api.sock")
        .status()
        .await
        .unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }));
    assert_eq!(
        error.to_string(),
        "daemon not reachable at /nonexistent/api.sock: No such file or directory (os error 2)"
    );
    assert_eq!(
        error.hint().as_deref(),
        Some("start it with 'netpath daemon'")
    );
}
