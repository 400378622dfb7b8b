//! The store.

use super::{ConfigError, Settings};
use crate::store::RemoteSettings;

/// Kinds of stores.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoreKind {
    /// A file in the state directory.
    File,
    /// etcd.
    Etcd(RemoteSettings),
    /// Consul.
    Consul(RemoteSettings),
}

/// The store that the settings name.
pub(super) fn resolve(settings: &Settings) -> Result<StoreKind, ConfigError> {
    let text = settings.store.as_deref().unwrap_or("file");
    if text == "file" {
        return match set(settings).first() {
            None => Ok(StoreKind::File),
            Some(key) => Err(ConfigError::invalid(
                key,
                "the store 'file' does not use it",
            )),
        };
    }
    let Some((scheme, servers)) = text.split_once("://") else {
        return Err(unknown(text));
    };
    let kind = match scheme {
        "etcd" => StoreKind::Etcd,
        "consul" => StoreKind::Consul,
        _ => return Err(unknown(text)),
    };
    let servers = servers.split(',').map(str::parse).collect::<Result<_, _>>();
    let remote = RemoteSettings {
        servers: servers.map_err(|error: String| ConfigError::invalid("store", error))?,
        ca: settings.store_ca.clone(),
        cert: settings.store_cert.clone(),
        key: settings.store_key.clone(),
        token: settings.store_token.clone(),
    };
    if remote.cert.is_some() != remote.key.is_some() {
        let reason = "store_cert and store_key belong together";
        return Err(ConfigError::invalid("store_cert", reason));
    }
    if remote.cert.is_some() && remote.ca.is_none() {
        let reason = "TLS is used with store_ca only";
        return Err(ConfigError::invalid("store_cert", reason));
    }
    Ok(kind(remote))
}

fn unknown(text: &str) -> ConfigError {
    let reason = format!(
        "'{text}' is none of 'file', 'etcd://HOST:PORT[,HOST:PORT…]' and 'consul://HOST:PORT[,HOST:PORT…]'"
    );
    ConfigError::invalid("store", reason)
}

/// The keys about a distributed store that are set.
fn set(settings: &Settings) -> Vec<&'static str> {
    let keys = [
        ("store_ca", &settings.store_ca),
        ("store_cert", &settings.store_cert),
        ("store_key", &settings.store_key),
        ("store_token", &settings.store_token),
    ];
    let set = keys.into_iter().filter(|(_, value)| value.is_some());
    set.map(|(key, _)| key).collect()
}
