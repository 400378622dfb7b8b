//! Bulk transfers in both directions, from every origin.

use netpath_tests::{
    fixture::{Fixture, HOST, LOOPBACK},
    peer,
};

fn exchange(family: impl Fn((&'static str, &'static str)) -> &'static str, megabytes: u32) {
    let fixture = Fixture::new();
    fixture.two_networks();
    let web = fixture.sandbox("web", "network_a", &["8080:80"]);
    let sibling = fixture.sandbox("sibling", "network_a", &[]);
    let other = fixture.sandbox("other", "network_b", &[]);
    let _server = peer::serve_blobs(&web.netns, 80);
    let (host, loopback) = (family(HOST), family(LOOPBACK));
    for (netns, address) in [
        (fixture.outside(), host),
        (fixture.host(), loopback),
        (fixture.host(), host),
        (&sibling.netns, host),
        (&other.netns, host),
        (&web.netns, host),
    ] {
        peer::exchange(netns, address, 8080, megabytes);
    }
    fixture.assert_clean(&[&web, &sibling, &other]);
}

#[test]
fn ipv4_transfer_of_200_megabytes_is_intact() {
    exchange(|pair| pair.0, 200);
}

#[test]
fn ipv6_transfer_of_200_megabytes_is_intact() {
    exchange(|pair| pair.1, 200);
}

#[test]
fn serial_transfer_of_a_gigabyte_is_intact() {
    let fixture = Fixture::new();
    fixture.two_networks();
    let web = fixture.sandbox("web", "network_a", &["8080:80"]);
    let _server = peer::serve_blobs(&web.netns, 80);
    peer::exchange(fixture.outside(), HOST.0, 8080, 1024);
    fixture.assert_clean(&[&web]);
}
