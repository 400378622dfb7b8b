//! More ways to reach a published port.

use crate::{
    peer::{self, How, Question},
    stage::{HOST, LOOPBACK, OUTSIDE, SHOP_GATEWAY, Stage, YARD_GATEWAY},
    town::{PUBLISHED, Town, both, check},
};

fn town() -> Town {
    Town::on(Stage::new())
}

#[test]
fn a_published_port_answers_on_every_gateway_too() {
    let town = town();
    let _server = peer::serve(&town.web.netns, "web", &["80"]);
    let (sibling, other) = (&town.sibling, &town.other);

    for gateway in [SHOP_GATEWAY, YARD_GATEWAY] {
        check("host", town.stage.host(), both(gateway), both(SHOP_GATEWAY));
        check(
            "sibling",
            &sibling.netns,
            both(gateway),
            sibling.addresses(),
        );
        check("other", &other.netns, both(gateway), other.addresses());
        check("itself", &town.web.netns, both(gateway), both(SHOP_GATEWAY));
    }
    town.stage.assert_clean(&[&town.web, sibling, other]);
}

#[test]
fn a_host_process_bound_to_a_local_address_reaches_a_published_port() {
    let town = town();
    let _server = peer::serve(&town.web.netns, "web", &["80"]);
    for (own, asked) in [(HOST, HOST), (HOST, LOOPBACK), (SHOP_GATEWAY, HOST)] {
        let questions = both(own)
            .into_iter()
            .zip(both(asked))
            .flat_map(|(own, asked)| {
                How::ALL.map(|how| Question::new(how, asked, PUBLISHED).source_address(own))
            });
        let questions: Vec<Question> = questions.collect();
        let answers = peer::ask_all(town.stage.host(), &questions);
        for (question, answer) in questions.iter().zip(answers) {
            assert_eq!(answer.from, question.address(), "{question}: {answer:?}");
        }
    }
    town.stage.assert_clean(&[&town.web]);
}

/// Connects a UDP socket, waits for an answer, and then for whatever else comes.
const CONNECTED: &str = "
import socket, sys
peer = socket.getaddrinfo(sys.argv[1], 8080, type=socket.SOCK_DGRAM)[0]
s = socket.socket(peer[0], socket.SOCK_DGRAM)
s.connect(peer[4])
s.send(b'hello')
s.recv(1000)
print('answered', flush=True)
try:
    s.recv(1000)
except OSError as error:
    print(error.errno, flush=True)
";

#[test]
fn a_host_process_is_told_that_the_sandbox_it_is_connected_to_is_gone() {
    let town = town();
    let server = peer::serve(&town.web.netns, "web", &["80"]);
    let mut clients: Vec<_> = [LOOPBACK.0, LOOPBACK.1, HOST.0]
        .iter()
        .map(|address| {
            let mut client = town
                .stage
                .host()
                .start(&["python3", "-c", CONNECTED, address]);
            client.wait_for_output("answered");
            client
        })
        .collect();
    drop(server);
    town.stage.daemon.cli(&["sandbox", "rm", "web"]).success();
    for client in &mut clients {
        client.wait_for_output(&libc::ECONNABORTED.to_string());
    }
    town.stage.assert_clean(&[&town.sibling, &town.other]);
}

#[test]
fn a_sandbox_keeps_its_own_loopback() {
    let town = town();
    let _server = peer::serve(&town.web.netns, "web", &["80"]);
    let _own = peer::serve(&town.sibling.netns, "own", &["8080"]);
    for how in How::ALL {
        for address in [LOOPBACK.0, LOOPBACK.1] {
            let question = Question::new(how, address, PUBLISHED);
            let answer = peer::ask(&town.sibling.netns, &question);
            assert_eq!(answer.name, "own", "{question}");
            peer::assert_no_answer(&town.other.netns, &[question]);
        }
    }
    town.stage
        .assert_clean(&[&town.web, &town.sibling, &town.other]);
}

#[test]
fn a_client_uses_one_source_port_for_two_addresses_of_the_node() {
    let town = town();
    let _server = peer::serve(&town.web.netns, "web", &["80"]);
    let host = town.stage.host();
    host.exec("ip addr add 192.0.2.9/24 dev eth0");
    let ask = |how, address| Question::new(how, address, PUBLISHED).source_port(22_000);
    town.stage.wait_for("the new address is known", || {
        let probe = [Question::new(How::Tcp, "192.0.2.9", PUBLISHED)];
        peer::ask_within(
            town.stage.outside(),
            &probe,
            std::time::Duration::from_millis(200),
        )[0]
        .is_ok()
    });
    for how in [How::Tcp, How::Udp] {
        let answers =
            [HOST.0, "192.0.2.9"].map(|to| peer::ask(town.stage.outside(), &ask(how, to)));
        for answer in &answers {
            assert_eq!(answer.peer, OUTSIDE.0, "{answer:?}");
        }
        assert_eq!(answers[0].peer_port, 22_000, "a free source port is kept");
        assert_ne!(
            answers[1].peer_port, 22_000,
            "a taken source port is replaced"
        );
    }
    town.stage.assert_clean(&[&town.web]);
}
