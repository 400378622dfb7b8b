//! `netpath deny`.

use std::time::Duration;

use clap::Subcommand;

use super::{
    Context, Outcome,
    failure::Failure,
    output::{self, Column, Row},
};
use crate::{
    frontend::http::v1::{Denial, Deny, DenyRemove},
    model::{DenyPrefix, deny::LONGEST_DENIAL},
};

/// The node's deny list: hosts outside that sandboxes exchange no packets with
#[derive(Debug, Subcommand)]
#[command(after_help = "Example:\n  netpath deny add 203.0.113.0/24 --for 1h")]
pub(super) enum Command {
    /// Deny hosts outside; packets of existing connections are dropped too. Services of the node itself are not affected
    #[command(after_help = "Example:\n  netpath deny add 203.0.113.7 2001:db8:bad::/48 --for 10m")]
    Add {
        /// Prefixes or addresses
        #[arg(required = true, value_name = "CIDR")]
        cidrs: Vec<DenyPrefix>,
        /// Time after which the entries expire, such as 90s, 10m, 2h or 1d12h [default: never]
        #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
        time: Option<Duration>,
    },
    /// Remove entries
    #[command(after_help = "Example:\n  netpath deny rm 203.0.113.0/24")]
    Rm {
        /// Prefixes as 'netpath deny ls' lists them
        #[arg(required = true, value_name = "CIDR")]
        cidrs: Vec<DenyPrefix>,
    },
    /// List the entries
    #[command(
        after_help = "Example:\n  netpath deny ls -o json",
        visible_alias = "list"
    )]
    Ls,
}

/// Executes `command`.
pub(super) async fn execute(context: &Context, command: Command) -> Outcome {
    let client = &context.client;
    match command {
        Command::Add { cidrs, time } => {
            let cidrs = texts(&cidrs);
            let object = cidrs.join(" ");
            let for_s = time.map(|time| time.as_secs());
            let added = client.deny(&Deny { cidrs, for_s }).await;
            added.map_err(Failure::api("deny add", object))?;
        }
        Command::Rm { cidrs } => {
            let cidrs = texts(&cidrs);
            let object = cidrs.join(" ");
            let removed = client.remove_denials(&DenyRemove { cidrs }).await;
            removed.map_err(Failure::api("deny rm", object))?;
        }
        Command::Ls => {
            let denials = client.denials().await;
            let denials = denials.map_err(Failure::api("deny ls", ""))?;
            output::rows(context.format, &denials)?;
        }
    }
    Ok(0)
}

fn texts(cidrs: &[DenyPrefix]) -> Vec<String> {
    cidrs.iter().map(ToString::to_string).collect()
}

/// A time such as `90`, `90s`, `10m` or `1d12h`; a number without a unit is in seconds.
fn parse_time(text: &str) -> Result<Duration, String> {
    let mut seconds = 0_u64;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|digit: char| !digit.is_ascii_digit());
        let (number, unit) = rest.split_at(digits.unwrap_or(rest.len()));
        let number: u64 = number.parse().map_err(|_| not_a_time(text))?;
        let mut unit = unit.chars();
        let factor = match unit.next() {
            None if rest == text => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3_600,
            Some('d') => 86_400,
            _ => return Err(not_a_time(text)),
        };
        rest = unit.as_str();
        seconds = number
            .checked_mul(factor)
            .and_then(|part| seconds.checked_add(part))
            .unwrap_or(u64::MAX);
    }
    if !(1..=LONGEST_DENIAL).contains(&seconds) {
        return Err(not_a_time(text));
    }
    Ok(Duration::from_secs(seconds))
}

fn not_a_time(text: &str) -> String {
    format!("'{text}' is not a time between 1s and 3650d, such as 90s, 10m, 2h or 1d12h")
}

impl Row for Denial {
    const COLUMNS: &'static [Column] = &["CIDR", "EXPIRES", "SOURCE"];

    fn cells(&self) -> Vec<String> {
        let source = if self.configured {
            "settings"
        } else {
            "command"
        };
        vec![
            self.cidr.to_string(),
            match self.expires_s {
                Some(seconds) => format!("in {seconds} s"),
                None => "never".to_owned(),
            },
            source.to_owned(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_parsed() {
        for (text, seconds) in [
            ("90", 90),
            ("90s", 90),
            ("10m", 600),
            ("2h", 7_200),
            ("1d12h", 129_600),
            ("3650d", LONGEST_DENIAL),
        ] {
            assert_eq!(parse_time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "0",
            "0s",
            "-1",
            "1x",
            "s",
            "1m30",
            "10 m",
            "3651d",
            "99999999999999999999d",
        ] {
            assert_eq!(parse_time(text), Err(not_a_time(text)));
        }
    }
}
