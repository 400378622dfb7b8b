//! Invalid command lines, as one line; help and version, which are not failures.

use std::process::ExitCode;

use clap::{Error, error::ErrorKind};

use super::output;

/// Prints clap's message; the status is 0 for requested help and version, else 2.
pub(super) fn report(error: &Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp
        | ErrorKind::DisplayVersion
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            // A closed pipe is not a failure.
            let _ = error.print();
            ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
        }
        _ => {
            let mut line = line(&error.render().to_string());
            line.push('\n');
            output::complain(&line);
            ExitCode::from(2)
        }
    }
}

/// The error, the tip if there is one, and where to read more, from clap's paragraphs.
fn line(rendered: &str) -> String {
    let joined = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut paragraphs = rendered.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let what = joined(first.strip_prefix("error: ").unwrap_or(first));
    let mut command = String::from("netpath");
    let mut tip = None;
    for paragraph in paragraphs.map(str::trim) {
        if let Some(text) = paragraph.strip_prefix("tip: ") {
            tip = Some(joined(text.lines().next().unwrap_or_default()));
        } else if let Some(usage) = paragraph.strip_prefix("Usage: netpath") {
            for word in usage
                .split_whitespace()
                .take_while(|word| !word.starts_with(['<', '[', '-']))
            {
                command.push(' ');
                command.push_str(word);
            }
        }
    }
    let tip = tip.map(|tip| format!(", {tip}")).unwrap_or_default();
    format!("netpath: usage: {what}{tip}; see '{command} --help'")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn of(arguments: &[&str]) -> String {
        let arguments = ["netpath"].iter().chain(arguments);
        let error = Cli::try_parse_from(arguments).unwrap_err();
        line(&error.render().to_string())
    }

    #[test]
    fn usage_errors_are_one_line() {
        assert_eq!(
            of(&["network", "create"]),
            "netpath: usage: the following required arguments were not provided: <NAME>; see 'netpath network create --help'"
        );
        assert_eq!(
            of(&["network", "craete", "a"]),
            "netpath: usage: unrecognized subcommand 'craete', a similar subcommand exists: 'create'; see 'netpath network --help'"
        );
        assert_eq!(
            of(&["status", "--wait", "soon"]),
            "netpath: usage: invalid value 'soon' for '--wait <SECONDS>': invalid float literal; see 'netpath --help'"
        );
    }
}
