//! Whether netpath follows a Docker Engine, and how.

use std::{convert::Infallible, path::PathBuf, str::FromStr};

use clap::ValueEnum;
use serde::{Deserialize, Deserializer, de};

use super::ConfigError;

/// Socket of Docker Engine if none is named.
pub const DEFAULT_DOCKER_SOCKET: &str = "/var/run/docker.sock";

/// `docker = true`, `docker = false` or `docker = "SOCKET"`; `--docker[=SOCKET]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerSetting {
    /// No Docker Engine.
    Off,
    /// The engine at this socket.
    Socket(PathBuf),
}

/// What netpath replaces of Docker Engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DockerMode {
    /// The rules and proxies of the engine, which must be off.
    #[default]
    Replace,
    /// Nothing: the rules of the engine stay.
    Beside,
}

impl FromStr for DockerSetting {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::Socket(text.into()))
    }
}

impl<'de> Deserialize<'de> for DockerSetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = DockerSetting;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or the path of a socket")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<DockerSetting, E> {
                Ok(if on {
                    DockerSetting::Socket(DEFAULT_DOCKER_SOCKET.into())
                } else {
                    DockerSetting::Off
                })
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<DockerSetting, E> {
                Ok(DockerSetting::Socket(text.into()))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// The socket of the engine to follow; `None` if there is none.
pub(super) fn resolve(
    setting: Option<DockerSetting>,
    mode: Option<DockerMode>,
) -> Result<Option<PathBuf>, ConfigError> {
    if mode == Some(DockerMode::Beside) {
        return Err(ConfigError::NotSupported {
            key: "docker_mode beside",
        });
    }
    match setting {
        None | Some(DockerSetting::Off) => Ok(None),
        Some(DockerSetting::Socket(socket)) if socket.is_absolute() => Ok(Some(socket)),
        Some(DockerSetting::Socket(socket)) => Err(ConfigError::invalid(
            "docker",
            format!("'{}' is not an absolute path of a socket", socket.display()),
        )),
    }
}
