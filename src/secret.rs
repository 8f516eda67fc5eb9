//! A secret: bytes that are wiped when dropped and that nothing can print by accident.
//!
//! There is no `Debug`, `Display`, `Serialize` or `PartialEq` here on purpose: a secret can be handed to the
//! authentication machines and to nothing else. Every room may use this file; it uses none.

use zeroize::Zeroizing;

/// A password, as the bytes that the person typed (UTF-8 when it came from a profile).
#[derive(Clone, Default)]
pub struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    /// Takes the bytes over; the caller's buffer is the one that is wiped later.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes themselves, for the one computation that needs them.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}
