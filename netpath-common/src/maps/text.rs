//! Text in map values, for dumps without the daemon.

/// Text of up to 64 bytes, padded with zeroes.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Text(pub [u8; 64]);

impl Text {
    /// From text of at most 64 bytes; longer text is truncated.
    pub fn new(text: &str) -> Self {
        let mut bytes = [0; 64];
        for (to, from) in bytes.iter_mut().zip(text.bytes()) {
            *to = from;
        }
        Self(bytes)
    }

    /// The text; empty if it is not UTF-8. The daemon writes only UTF-8.
    pub fn as_str(&self) -> &str {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap_or(64);
        core::str::from_utf8(self.0.get(..end).unwrap_or_default()).unwrap_or_default()
    }
}

impl Default for Text {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl core::fmt::Debug for Text {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}
