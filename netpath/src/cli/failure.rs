//! Failures, as one line: what failed, with which object, why, and what to do.

use std::{error::Error, io};

use crate::{config::ConfigError, frontend::http::client::ClientError};

/// A command that failed.
#[derive(Debug)]
pub(super) struct Failure {
    action: &'static str,
    object: String,
    reason: String,
    advice: Option<String>,
    causes: Vec<String>,
    status: u8,
}

impl Failure {
    /// `action` with `object` (may be empty) failed because of `error`.
    pub(super) fn new(action: &'static str, object: impl Into<String>, error: impl Error) -> Self {
        let mut causes = Vec::new();
        let mut source = error.source();
        while let Some(cause) = source {
            causes.push(cause.to_string());
            source = cause.source();
        }
        Self {
            causes,
            ..Self::because(action, object, error.to_string())
        }
    }

    /// `action` with `object` (may be empty) failed for a reason that has no error type.
    pub(super) fn because(
        action: &'static str,
        object: impl Into<String>,
        reason: impl Into<String>,
    ) -> Self {
        Self {
            action,
            object: object.into(),
            reason: reason.into(),
            advice: None,
            causes: Vec::new(),
            status: 1,
        }
    }

    /// The request to the daemon for `action` with `object` failed.
    pub(super) fn api(
        action: &'static str,
        object: impl Into<String>,
    ) -> impl FnOnce(ClientError) -> Self {
        move |error| {
            let advice = error.hint();
            Self {
                advice,
                ..Self::new(action, object, error)
            }
        }
    }

    /// The settings are invalid.
    pub(super) fn config(action: &'static str) -> impl FnOnce(ConfigError) -> Self {
        move |error| {
            let advice = error.hint();
            Self::new(action, "", error).advice(advice)
        }
    }

    /// An error with its chain, where only the outermost and innermost matter to users.
    pub(super) fn chain(action: &'static str, error: &anyhow::Error) -> Self {
        Self {
            causes: error.chain().skip(1).map(ToString::to_string).collect(),
            ..Self::because(action, "", format!("{error:#}"))
        }
    }

    /// Printing failed.
    pub(super) fn output(error: io::Error) -> Self {
        Self::new("print", "", error).advice("check the destination of stdout")
    }

    /// The same with advice.
    pub(super) fn advice(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }

    /// The same with another exit status than 1.
    pub(super) fn exit(mut self, status: u8) -> Self {
        self.status = status;
        self
    }

    /// The exit status.
    pub(super) fn status(&self) -> u8 {
        self.status
    }

    /// One line; with `verbose`, followed by one line per cause.
    pub(super) fn report(&self, verbose: bool) -> String {
        let mut line = format!("netpath: {}", self.action);
        if !self.object.is_empty() {
            line.push(' ');
            line.push_str(&self.object);
        }
        line.push_str(": ");
        line.push_str(self.reason.trim_end_matches('.'));
        line.push_str("; ");
        match &self.advice {
            Some(advice) => line.push_str(advice),
            None => {
                line.push_str("see 'netpath ");
                line.push_str(self.action);
                line.push_str(" --help'");
            }
        }
        let mut text = one_line(&line);
        text.push('\n');
        if verbose {
            for cause in &self.causes {
                text.push_str("  caused by: ");
                text.push_str(&one_line(cause));
                text.push('\n');
            }
        }
        text
    }
}

/// The text without error numbers, line breaks and other control characters. An untrusted name may contain these.
fn one_line(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once(')').map_or(part, |(_, rest)| rest));
    }
    let printable: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    printable.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failure_prints_one_line() {
        let failure = Failure::because("network rm", "a\nb", "it is\nin use.").advice("stop 'web'");
        assert_eq!(
            failure.report(false),
            "netpath: network rm a b: it is in use; stop 'web'\n"
        );
        assert_eq!(failure.status(), 1);
    }

    #[test]
    fn error_numbers_are_left_out() {
        assert_eq!(
            one_line("a: No such file or directory (os error 2); b (os error 13)"),
            "a: No such file or directory; b"
        );
    }

    #[test]
    fn causes_are_shown_on_request() {
        let error = anyhow::anyhow!("no such device").context("could not attach");
        let failure = Failure::chain("daemon", &error);
        assert_eq!(
            failure.report(true),
            "netpath: daemon: could not attach: no such device; see 'netpath daemon --help'\n  caused by: no such device\n"
        );
    }
}
