//! Requests of the client.

use super::{Running, fake};
use crate::frontend::http::{client::ClientError, v1};

#[tokio::test]
async fn network_is_created_listed_and_removed() {
    let running = Running::start();
    let client = running.client();
    let request = v1::NetworkCreate::named("a");
    let made = client.create_network(&request).await.unwrap();
    assert_eq!(client.networks().await.unwrap().len(), 1);
    assert_eq!(client.network("a").await.unwrap(), made);

    let error = client.create_network(&request).await.unwrap_err();
    assert!(matches!(error, ClientError::Refused { status: 409, .. }));
    assert_eq!(error.to_string(), "the network 'a' exists");

    client.remove_network("a", false).await.unwrap();
    assert!(client.network("a").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn error_has_the_hint_of_the_daemon() {
    let running = Running::start();
    let client = running.client();
    client
        .create_network(&v1::NetworkCreate::named("backend"))
        .await
        .unwrap();
    let error = client.network("backedn").await.unwrap_err();
    assert_eq!(error.to_string(), "no network 'backedn'");
    assert_eq!(error.hint().as_deref(), Some("did you mean 'backend'?"));
}

#[tokio::test]
async fn name_with_slash_is_escaped() {
    let running = Running::start();
    for name in ["a/connect", "..", "a?b", "ä"] {
        let error = running.client().network(name).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("no network '{name}'")),
            "{error}"
        );
    }
}

#[tokio::test]
async fn sandboxes_join_and_leave() {
    let running = Running::start();
    let client = running.client();
    let request = v1::SandboxCreate {
        name: Some("web".to_owned()),
        owner_pid: Some(7),
        ..v1::SandboxCreate::default()
    };
    let made = client.create_sandbox(&request).await.unwrap();
    assert_eq!(made, fake::sandbox("web"));
    let connect = v1::Connect {
        rate: None,
        sandbox: "web".to_owned(),
        ip: Some("10.0.0.9".parse().unwrap()),
    };
    assert_eq!(client.connect("a", &connect, false).await.unwrap(), made);
    let disconnect = v1::Disconnect {
        sandbox: "web".to_owned(),
    };
    assert_eq!(
        client.disconnect("a", &disconnect, false).await.unwrap(),
        made
    );
    assert_eq!(client.sandboxes().await.unwrap().len(), 1);
    client.remove_sandbox("web", true).await.unwrap();
    assert!(client.sandbox("web").await.unwrap_err().is_not_found());
}

#[tokio::test]
async fn ports_are_published_and_withdrawn() {
    let running = Running::start();
    let client = running.client();
    let publish = v1::Publish {
        sandbox: "web".to_owned(),
        publish: vec!["[::1]:8080-8081:80-81/tcp".to_owned()],
        allow: vec!["10.0.0.0/8".parse().unwrap()],
    };
    assert_eq!(
        client.publish(&publish, false).await.unwrap(),
        [fake::port("web")]
    );
    let unpublish = v1::Unpublish {
        sandbox: "web".to_owned(),
        publish: vec!["80".to_owned()],
    };
    client.unpublish(&unpublish, false).await.unwrap();
    assert_eq!(client.ports(None).await.unwrap().len(), 2);
    assert!(client.ports(Some("no")).await.unwrap_err().is_not_found());
    client.teardown().await.unwrap();
    assert_eq!(running.fake.state().requests.last().unwrap(), "teardown");
}

#[tokio::test]
async fn nodes_are_listed_and_removed() {
    let running = Running::start();
    let client = running.client();
    assert_eq!(client.nodes().await.unwrap(), [fake::node("host-b")]);
    assert_eq!(client.node("host-b").await.unwrap(), fake::node("host-b"));
    assert!(client.node("host-c").await.unwrap_err().is_not_found());
    let refused = client.remove_node("host-b", false).await.unwrap_err();
    assert!(refused.is_conflict());
    client.remove_node("host-b", true).await.unwrap();
}

#[tokio::test]
async fn deny_list_is_changed_and_listed() {
    let running = Running::start();
    let client = running.client();
    let cidrs = vec!["203.0.113.0/24".to_owned()];
    let request = v1::Deny {
        cidrs: cidrs.clone(),
        for_s: Some(60),
    };
    client.deny(&request).await.unwrap();
    assert_eq!(client.denials().await.unwrap(), [fake::denial()]);
    client
        .remove_denials(&v1::DenyRemove { cidrs })
        .await
        .unwrap();
}
