//! The BPF object that this binary contains.

use aya::include_bytes_aligned;

use super::DatapathError;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/netpath.bpf.o"));

/// The object's bytes.
///
/// # Errors
/// [`DatapathError::NoObject`] if the binary was built without one.
pub fn bytes() -> Result<&'static [u8], DatapathError> {
    if OBJECT.is_empty() {
        Err(DatapathError::NoObject)
    } else {
        Ok(OBJECT)
    }
}
