//! Rates of endpoints.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A rate in bits per second, a multiple of 8: at least [`Rate::LEAST`] and at most [`Rate::MOST`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "u64", try_from = "u64")]
pub struct Rate(u64);

/// The text or number is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a rate: write bits per second, or a number with kbit, mbit or gbit, from {least} to {most}",
    least = Rate(Rate::LEAST), most = Rate(Rate::MOST)
)]
pub struct RateError(String);

/// Units, with their bits per second; the largest comes first.
const UNITS: [(&str, u64); 4] = [
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
];

impl Rate {
    /// Least rate in bits per second: a packet of 1,514 bytes takes 0.12 s.
    pub const LEAST: u64 = 100_000;
    /// Greatest rate in bits per second.
    pub const MOST: u64 = 100_000_000_000;

    /// Bits per second.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// Bytes per second.
    pub const fn bytes(self) -> u64 {
        self.0 / 8
    }
}

impl TryFrom<u64> for Rate {
    type Error = RateError;

    fn try_from(bits: u64) -> Result<Self, RateError> {
        if (Self::LEAST..=Self::MOST).contains(&bits) {
            Ok(Self(bits / 8 * 8))
        } else {
            Err(RateError(bits.to_string()))
        }
    }
}

impl From<Rate> for u64 {
    fn from(rate: Rate) -> Self {
        rate.0
    }
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let lower = text.to_ascii_lowercase();
        let unit = UNITS
            .iter()
            .find_map(|(unit, bits)| Some((lower.strip_suffix(unit)?, *bits)));
        let (number, factor) = unit.unwrap_or((&lower, 1));
        // The parser of numbers accepts a sign.
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        let number = number.parse::<u64>().ok().filter(|_| digits);
        number
            .and_then(|number| number.checked_mul(factor))
            .and_then(|bits| Self::try_from(bits).ok())
            .ok_or_else(|| RateError(text.to_owned()))
    }
}

/// With the largest unit of which it is a multiple: `10mbit`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.iter().find(|(_, bits)| self.0.is_multiple_of(*bits));
        let (unit, bits) = unit.unwrap_or(&("bit", 1));
        write!(f, "{}{unit}", self.0 / bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_units() {
        for (text, bits, shown) in [
            ("10mbit", 10_000_000, "10mbit"),
            ("1GBIT", 1_000_000_000, "1gbit"),
            ("1500kbit", 1_500_000, "1500kbit"),
            ("100000", 100_000, "100kbit"),
            ("100001bit", 100_000, "100kbit"),
            ("100008", 100_008, "100008bit"),
            ("100gbit", 100_000_000_000, "100gbit"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!((rate.bits(), rate.to_string().as_str()), (bits, shown));
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_accepted_form() {
        for text in [
            "",
            "mbit",
            "10mbps",
            "10 mbit",
            "-10mbit",
            "+10mbit",
            "1.5gbit",
            "99kbit",
            "101gbit",
            "0",
            "18446744073709551615gbit",
        ] {
            let error = text.parse::<Rate>().unwrap_err().to_string();
            let expected = format!(
                "'{text}' is not a rate: write bits per second, or a number with kbit, mbit or gbit, from 100kbit to 100gbit"
            );
            assert_eq!(error, expected);
        }
    }
}
