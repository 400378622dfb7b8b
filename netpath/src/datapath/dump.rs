//! Placeholder.

use std::path::Path;

use crate::api::v1;

/// Placeholder.
#[derive(Debug, thiserror::Error)]
#[error("not built in")]
pub struct DumpError;

/// Every pinned map.
///
/// # Errors
/// Always.
pub fn list(_bpf_dir: &Path) -> Result<Vec<v1::MapInfo>, DumpError> {
    Err(DumpError)
}

/// Flows.
///
/// # Errors
/// Always.
pub fn nat(_bpf_dir: &Path) -> Result<Vec<v1::NatFlow>, DumpError> {
    Err(DumpError)
}

/// Published ports.
///
/// # Errors
/// Always.
pub fn ports(_bpf_dir: &Path) -> Result<Vec<v1::Port>, DumpError> {
    Err(DumpError)
}

/// Endpoints.
///
/// # Errors
/// Always.
pub fn endpoints(_bpf_dir: &Path) -> Result<Vec<v1::MapEndpoint>, DumpError> {
    Err(DumpError)
}

/// Networks.
///
/// # Errors
/// Always.
pub fn networks(_bpf_dir: &Path) -> Result<Vec<v1::MapNetwork>, DumpError> {
    Err(DumpError)
}

/// Counters.
///
/// # Errors
/// Always.
pub fn counters(_bpf_dir: &Path) -> Result<Vec<v1::Counter>, DumpError> {
    Err(DumpError)
}
