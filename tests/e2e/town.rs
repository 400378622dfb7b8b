//! A published port and everybody who may ask for it.

use netpath_tests::Netns;

use crate::{
    peer::{self, How, Question},
    stage::{Pair, Sandbox, Stage},
};

/// A port that is published as another one, so that only translation can reach it.
pub const PUBLISHED: u16 = 8080;

/// A node with a published port, and sandboxes beside it.
pub struct Town {
    /// The node.
    pub stage: Stage,
    /// Publishes port 80 as [`PUBLISHED`].
    pub web: Sandbox,
    /// In the same network.
    pub sibling: Sandbox,
    /// In another one.
    pub other: Sandbox,
}

impl Town {
    /// Builds it on a stage.
    #[track_caller]
    pub fn on(stage: Stage) -> Self {
        stage.two_networks();
        let web = stage.sandbox("web", "shop", &["8080:80", "8080:80/udp"]);
        let sibling = stage.sandbox("sibling", "shop", &[]);
        let other = stage.sandbox("other", "yard", &[]);
        Self {
            stage,
            web,
            sibling,
            other,
        }
    }
}

/// Asks `to` from one place in all ways; the server must see `seen`, and answer from where it was asked.
#[track_caller]
pub fn check(origin: &str, from: &Netns, to: [&str; 2], seen: [&str; 2]) {
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

/// The two as an array.
pub fn both((v4, v6): Pair) -> [&'static str; 2] {
    [v4, v6]
}
