//! Much data arrives as it was sent, in both directions, from every origin.

use crate::{
    peer,
    stage::{HOST, LOOPBACK, Stage},
};

fn exchange(family: impl Fn((&'static str, &'static str)) -> &'static str, megabytes: u32) {
    let stage = Stage::new();
    stage.two_networks();
    let web = stage.sandbox("web", "shop", &["8080:80"]);
    let sibling = stage.sandbox("sibling", "shop", &[]);
    let other = stage.sandbox("other", "yard", &[]);
    let _server = peer::serve_blobs(&web.netns, 80);
    let (host, loopback) = (family(HOST), family(LOOPBACK));
    for (netns, address) in [
        (stage.outside(), host),
        (stage.host(), loopback),
        (stage.host(), host),
        (&sibling.netns, host),
        (&other.netns, host),
        (&web.netns, host),
    ] {
        peer::exchange(netns, address, 8080, megabytes);
    }
    stage.assert_clean(&[&web, &sibling, &other]);
}

#[test]
fn two_hundred_megabytes_arrive_as_sent_over_ipv4() {
    exchange(|pair| pair.0, 200);
}

#[test]
fn two_hundred_megabytes_arrive_as_sent_over_ipv6() {
    exchange(|pair| pair.1, 200);
}

#[test]
fn serial_a_gigabyte_arrives_as_sent() {
    let stage = Stage::new();
    stage.two_networks();
    let web = stage.sandbox("web", "shop", &["8080:80"]);
    let _server = peer::serve_blobs(&web.netns, 80);
    peer::exchange(stage.outside(), HOST.0, 8080, 1024);
    stage.assert_clean(&[&web]);
}
