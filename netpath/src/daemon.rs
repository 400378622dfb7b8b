//! Placeholder.

use crate::config::Config;

/// Placeholder.
///
/// # Errors
/// Always.
pub async fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("not built in")
}

/// Placeholder.
///
/// # Errors
/// Always.
pub async fn teardown_forced(_config: &Config) -> anyhow::Result<()> {
    anyhow::bail!("not built in")
}
