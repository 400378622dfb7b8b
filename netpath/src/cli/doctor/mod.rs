//! `netpath doctor`: checks requirements on this host, and configuration that interferes. Changes nothing.

mod bypassed;
mod datapath;
mod firewall;
mod interfaces;
mod kernel;
mod mounts;
mod ports;
mod privileges;
mod programs;
mod qdiscs;
mod sysctls;

use std::{fmt, io, process::Command};

use clap::Args;
use serde::Serialize;

use super::{
    Context, Outcome, colours,
    failure::Failure,
    output::{self, Column, Format, Row},
};

/// Check requirements on this host, and configuration that interferes
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  netpath doctor\n\nThe exit status is 1 if something that netpath needs is missing."
)]
pub(super) struct Arguments {}

/// Result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    /// Name of the check.
    name: &'static str,
    /// Severity.
    status: Level,
    /// What was found.
    message: String,
    /// The command or advice that corrects it.
    fix: Option<String>,
}

/// Severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
enum Level {
    /// No problem.
    Ok,
    /// The check could not run.
    Unchecked,
    /// netpath works with a limitation.
    Warn,
    /// netpath does not work.
    Fail,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Unchecked => "unchecked",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
        })
    }
}

impl Finding {
    fn ok(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name,
            status: Level::Ok,
            message: message.into(),
            fix: None,
        }
    }

    fn unchecked(name: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Level::Unchecked,
            ..Self::warn(name, message, fix)
        }
    }

    fn warn(name: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Level::Warn,
            fix: Some(fix.into()),
            ..Self::ok(name, message)
        }
    }

    fn fail(name: &'static str, message: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status: Level::Fail,
            fix: Some(fix.into()),
            ..Self::ok(name, message)
        }
    }
}

/// Executes every check.
pub(super) async fn execute(context: &Context, _arguments: Arguments) -> Outcome {
    let mut findings = kernel::check();
    findings.extend(datapath::check());
    findings.extend(mounts::check());
    findings.extend(privileges::check());
    findings.extend(sysctls::check());
    findings.extend(interfaces::check().await);
    findings.extend(ports::check(&context.pins(None)));
    findings.extend(firewall::check());
    findings.extend(bypassed::check());
    findings.extend(programs::check());
    findings.extend(qdiscs::check());
    match context.format {
        Format::Table => output::text(&paint(
            &output::table(Finding::COLUMNS, findings.iter().map(Row::cells)),
            colours(),
        ))?,
        Format::Json => output::json(&findings)?,
    }
    let failed: Vec<&str> = findings
        .iter()
        .filter(|finding| finding.status == Level::Fail)
        .map(|finding| finding.name)
        .collect();
    if failed.is_empty() {
        Ok(0)
    } else {
        Err(Failure::because(
            "doctor",
            failed.join(", "),
            "netpath does not work on this host",
        )
        .advice("use the fixes shown above"))
    }
}

impl Row for Finding {
    const COLUMNS: &'static [Column] = &["STATUS", "CHECK", "FOUND", "FIX"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.status.to_string(),
            self.name.to_owned(),
            self.message.clone(),
            self.fix.clone().unwrap_or_default(),
        ]
    }
}

/// Colours the first word of each line.
fn paint(table: &str, colours: bool) -> String {
    if !colours {
        return table.to_owned();
    }
    let mut painted = String::with_capacity(table.len());
    for line in table.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let colour = match word {
            "ok" => "32",
            "unchecked" => "36",
            "warn" => "33",
            "FAIL" => "31",
            _ => "1",
        };
        painted.push_str(&format!("\x1b[{colour}m{word}\x1b[0m {rest}\n"));
    }
    painted
}

/// Result of a program.
enum Printed {
    /// The program is not installed.
    Missing,
    /// The program failed, for this reason.
    Failed(String),
    /// Its stdout.
    Text(String),
}

/// Runs a program that changes nothing.
fn print_of(program: &str, arguments: &[&str]) -> Printed {
    match Command::new(program).args(arguments).output() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Printed::Missing,
        Err(error) => Printed::Failed(error.to_string()),
        Ok(output) if output.status.success() => {
            Printed::Text(String::from_utf8_lossy(&output.stdout).into_owned())
        }
        Ok(output) => Printed::Failed(
            String::from_utf8_lossy(&output.stderr)
                .lines()
                .next()
                .unwrap_or("it failed")
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finding_has_fields_of_the_contract() {
        let finding = Finding::fail("bpffs", "not mounted", "mount it");
        assert_eq!(
            serde_json::to_value(finding).unwrap(),
            serde_json::json!({
                "name": "bpffs", "status": "fail", "message": "not mounted", "fix": "mount it"
            })
        );
    }

    #[test]
    fn colours_do_not_change_the_text() {
        let table = "STATUS  CHECK\nok      btf\nFAIL    bpffs\n";
        assert_eq!(paint(table, false), table);
        assert!(paint(table, true).contains("\x1b[31mFAIL\x1b[0m    bpffs\n"));
    }

    #[test]
    fn missing_and_failing_programs_are_distinguished() {
        assert!(matches!(print_of("/nonexistent/x", &[]), Printed::Missing));
        assert!(matches!(print_of("false", &[]), Printed::Failed(_)));
    }
}
