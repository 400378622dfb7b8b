//! Six origins reach a published port, and the server sees the right client.

use netpath_tests::Netns;

use crate::{
    peer::{self, How, Question},
    stage::{HOST, LOOPBACK, OUTSIDE, Pair, SHOP_GATEWAY, Sandbox, Stage, YARD_GATEWAY},
};

/// A port that is published as another one, so that only translation can reach it.
const PUBLISHED: u16 = 8080;

struct Town {
    stage: Stage,
    web: Sandbox,
    sibling: Sandbox,
    other: Sandbox,
}

fn town() -> Town {
    let stage = Stage::new();
    stage.two_networks();
    let web = stage.sandbox("web", "shop", &["8080:80", "8080:80/udp"]);
    let sibling = stage.sandbox("sibling", "shop", &[]);
    let other = stage.sandbox("other", "yard", &[]);
    Town {
        stage,
        web,
        sibling,
        other,
    }
}

/// Asks `to` from one place in all ways; the server must see `seen`, and answer from where it was asked.
#[track_caller]
fn check(origin: &str, from: &Netns, to: [&str; 2], seen: [&str; 2]) {
    let mut questions = Vec::new();
    for (family, address) in to.into_iter().enumerate() {
        for (number, how) in How::ALL.into_iter().enumerate() {
            let question = Question::new(how, address, PUBLISHED);
            let port = 41_000 + u16::try_from(10 * family + number).expect("small");
            questions.push((question.clone(), seen[family]));
            questions.push((question.source_port(port), seen[family]));
        }
    }
    let (asked, expected): (Vec<_>, Vec<_>) = questions.into_iter().unzip();
    let answers = peer::ask_all(from, &asked);
    for ((question, answer), seen) in asked.iter().zip(answers).zip(expected) {
        assert_eq!(answer.name, "web", "{origin}: {question}");
        assert_eq!(answer.peer, seen, "{origin}: {question}: {answer:?}");
        assert_eq!(answer.port, 80, "{origin}: {question}");
        assert_eq!(
            (answer.from.as_str(), answer.from_port),
            (question.address(), PUBLISHED),
            "{origin}: {question}: the answer comes from elsewhere"
        );
    }
}

fn both((v4, v6): Pair) -> [&'static str; 2] {
    [v4, v6]
}

#[test]
fn every_origin_reaches_a_published_port_and_the_server_sees_the_right_client() {
    let town = town();
    let _server = peer::serve(&town.web.netns, "web", &["80"]);
    let (host, outside) = (town.stage.host(), town.stage.outside());
    let (sibling, other) = (&town.sibling, &town.other);

    check("outside", outside, both(HOST), both(OUTSIDE));
    check("host by loopback", host, both(LOOPBACK), both(SHOP_GATEWAY));
    check("host by own address", host, both(HOST), both(SHOP_GATEWAY));
    check("sibling", &sibling.netns, both(HOST), sibling.addresses());
    check("other network", &other.netns, both(HOST), other.addresses());
    check("itself", &town.web.netns, both(HOST), both(SHOP_GATEWAY));
    town.stage.assert_clean(&[&town.web, sibling, other]);
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
