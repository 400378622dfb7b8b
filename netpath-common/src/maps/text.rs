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

    /// Whether both are the same text.
    #[inline(always)]
    pub fn is_same(&self, other: &Self) -> bool {
        let (words, _) = self.0.as_chunks();
        let (other_words, _) = other.0.as_chunks();
        let mut difference = 0;
        for (word, other) in words.iter().zip(other_words) {
            difference |= u64::from_ne_bytes(*word) ^ u64::from_ne_bytes(*other);
        }
        difference == 0
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
