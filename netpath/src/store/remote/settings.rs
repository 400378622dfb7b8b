//! Settings of distributed stores.

use std::{fmt, path::PathBuf, str::FromStr};

/// How a distributed store is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Servers of the store, in order of preference.
    pub servers: Vec<Server>,
    /// File with the certificates of authorities that may certify servers, in PEM. With it, connections use TLS.
    pub ca: Option<PathBuf>,
    /// File with the certificate of this client, in PEM.
    pub cert: Option<PathBuf>,
    /// File with the key of this client, in PEM.
    pub key: Option<PathBuf>,
    /// File with the token; for etcd `USER:PASSWORD`.
    pub token: Option<PathBuf>,
}

/// Address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address; an IPv6 address without brackets.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let invalid = || format!("'{text}' is not HOST:PORT");
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let host = bare.unwrap_or(host);
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        let is_host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => !host.is_empty() && host.chars().all(valid),
        };
        match port.parse() {
            Ok(port) if port > 0 && is_host => Ok(Self {
                host: host.to_owned(),
                port,
            }),
            _ => Err(invalid()),
        }
    }
}
