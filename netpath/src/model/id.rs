//! Names and ids.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name: `[a-zA-Z0-9][a-zA-Z0-9_.-]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The text is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is not a name: it must start with a letter or digit, continue with letters, digits, '_', '.' or '-', and have at most 64 characters"
)]
pub struct NameError(String);

impl Name {
    /// `bridge`, the name of the default network.
    pub fn bridge() -> Self {
        Self("bridge".to_owned())
    }

    /// The name of a sandbox whose request has no name.
    pub fn generated(id: Id) -> Self {
        Self(format!("sandbox-{id}"))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        match text.as_bytes() {
            [first, rest @ ..]
                if first.is_ascii_alphanumeric()
                    && rest.len() < 64
                    && rest.iter().copied().all(good) =>
            {
                Ok(Self(text.to_owned()))
            }
            _ => Err(NameError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A random id of 48 bits, shown as twelve hexadecimal digits; interface names contain its first ten.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(u64);

/// The text is not an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not an id of twelve hexadecimal digits")]
pub struct IdError(String);

impl Id {
    /// From the low 48 bits of a random number.
    pub const fn from_random(random: u64) -> Self {
        Self(random & 0xffff_ffff_ffff)
    }

    /// An interface name of `prefix` and the first ten digits: at most 15 bytes if the prefix has at most five.
    pub fn interface(self, prefix: &str) -> String {
        format!("{prefix}{:010x}", self.device())
    }

    /// The upper 40 bits, from which interface names are derived.
    pub(crate) const fn device(self) -> u64 {
        self.0 >> 8
    }

    /// A locally administered unicast MAC address derived from the id.
    pub fn mac(self) -> netpath_common::addr::MacAddr {
        let [_, _, a, b, c, d, e, f] = self.0.to_be_bytes();
        netpath_common::addr::MacAddr([(a & 0xfc) | 0x02, b, c, d, e, f])
    }
}

impl FromStr for Id {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        match u64::from_str_radix(text, 16) {
            Ok(number) if text.len() == 12 => Ok(Self(number)),
            _ => Err(IdError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for Id {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:012x}", self.0)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_syntax_is_checked() {
        for good in ["a", "0", "web-1.prod_x", &"x".repeat(64)] {
            assert!(good.parse::<Name>().is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "a b", "a/b", "ä", "a:b", &"x".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad}");
        }
    }

    #[test]
    fn id_parses_from_its_text_and_fits_interface_names() {
        let id = Id::from_random(0xfeed_0123_4567_89ab);
        assert_eq!(id.to_string(), "0123456789ab");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(
            Name::generated(id).to_string().parse(),
            Ok(Name::generated(id))
        );
        assert_eq!(Name::bridge().to_string().parse(), Ok(Name::bridge()));
        assert_eq!(id.interface("npb-"), "npb-0123456789");
        assert_eq!(id.mac().0[0] & 0x03, 0x02);
    }
}
