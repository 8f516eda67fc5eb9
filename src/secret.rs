//! Secret bytes that are wiped when dropped and cannot be printed by accident.
//!
//! `Debug`, `Display`, `Serialize` and `PartialEq` are deliberately missing: only the authentication
//! protocols have a use for a secret. Every module may import this file; it imports none.

use zeroize::Zeroizing;

/// A password, as the bytes that the user typed (UTF-8 when it came from a profile).
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes ownership of the bytes without copying: the caller's buffer is the one wiped on drop.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// Returns the bytes, for the one computation that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}
